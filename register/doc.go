// Package register makes a service a member of a serverset for as long as its
// checks say that it works. A registration that isn't true is worse than none:
// the member's znode goes when the checks fail, when the session ends and when
// whoever registers is killed, and comes back by itself.
package register
