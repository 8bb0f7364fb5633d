// A service whose calls can be counted: each server of it appends what it executed
// to a file. The tests of whole fleets and the benchmarks of calls use it.
namespace go ledger
namespace py ledger

service Ledger {
  // Returns its argument. Idempotent.
  string echo(1: string text)
  // Notes the id in the server's file and returns the server's name. Not
  // idempotent.
  string record(1: string id)
}
