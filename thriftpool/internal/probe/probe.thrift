// The service that the tests of thriftpool call.
namespace go probe
namespace py probe

exception Refused {
  1: string reason
}

struct Tree {
  1: string name
  2: list<Tree> children
}

service Probe {
  // Returns its argument.
  string echo(1: string text)
  // Counts the id; the answer is how often it was counted.
  i64 count(1: string id)
  // Throws Refused.
  void refuse(1: string reason) throws (1: Refused refused)
  // Fails in a way that isn't declared.
  void crash()
  // Answers after so long.
  i64 wait(1: i64 milliseconds)
  // Returns so many bytes.
  binary blob(1: i32 size)
  Tree mirror(1: Tree tree)
  // Counts the id, and doesn't answer.
  oneway void note(1: string id)
}
