package serverset

import (
	"context"
	"iter"
)

// Provider says where a service can be reached. It is safe for concurrent use.
type Provider interface {
	// Endpoints returns the endpoints that count now, as host:port, sorted and
	// without duplicates: a snapshot that is shared and must not be modified,
	// found without a lock. It is empty if none were ever known.
	Endpoints() []string
	// Watch yields what Endpoints returns, and then each newer list, until ctx is
	// done or the Provider is closed. Lists that were overtaken meanwhile are left
	// out.
	Watch(ctx context.Context) iter.Seq[[]string]
}
