// Package ledger is a Thrift service for tests and benchmarks, whose servers note
// what they execute. All but this file is generated.
package ledger

//go:generate thrift -strict -out .. --gen go:skip_remote,package_prefix=github.com/kingpinfs/kingpin/internal/ ledger.thrift
//go:generate gofmt -w .
