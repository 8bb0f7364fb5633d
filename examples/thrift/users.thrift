// The service of the example.
namespace go users

struct User {
  1: i64 id
  2: string name
}

exception NotFound {
  1: i64 id
}

service Users {
  // Returns a user; asking twice does no harm.
  User get(1: i64 id) throws (1: NotFound notFound)
  // Creates a user and returns its id; each time another one.
  i64 create(1: string name)
  // Counts a visit. Nobody waits for an answer.
  oneway void visited(1: i64 id)
}
