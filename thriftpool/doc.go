// Package thriftpool calls a Thrift service whose hosts come and go.
//
// A Pool is a thrift.TClient, so every generated client takes it. Each call goes
// over a connection of its own while it lasts: one that is open already and was
// found to be in order, or a new one, to a host that the provider lists and that
// doesn't fail. Calls that failed are made again, to another host, if that can't
// execute anything twice; see Options.Idempotent.
//
//	hosts := serverset.NewFile("/var/serverset/discovery.users.prod", serverset.FileOptions{})
//	if err := hosts.Open(ctx); err != nil {
//		return err
//	}
//	defer hosts.Close()
//	pool, err := thriftpool.New(hosts, thriftpool.Options{Idempotent: []string{"getUser"}})
//	if err != nil {
//		return err
//	}
//	defer pool.Close(ctx)
//	user, err := users.NewUsersClient(pool).GetUser(ctx, id)
//
// The pool is safe for concurrent use. The generated client around it is not: it
// keeps the metadata of its last answer. It is two words; make one for each
// goroutine, or for each call.
//
// docs/thrift-pool.md has a table of the options, what is made again when, and
// how failures look.
package thriftpool
