// Package probe is the service that the tests and benchmarks of thriftpool call.
// All but this file is generated.
package probe

//go:generate thrift -strict -out .. --gen go:skip_remote,package_prefix=github.com/kingpinfs/kingpin/thriftpool/internal/ probe.thrift
//go:generate gofmt -w .
