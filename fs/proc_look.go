package fs

import (
	"sync/atomic"
	"time"
)

// lookPatience is how long a look at all processes may take.
const lookPatience = 2 * time.Second

// stuckLooks is how many looks at all processes have taken longer, and haven't
// come to their end.
var stuckLooks atomic.Int64

// lookAtAll returns what a look at all processes finds. A process in the middle of
// an execve can't be looked into, and that lasts until its files are closed, for
// which a FUSE server, perhaps another one, has to answer: for ever if that one
// hangs. Then ok is false, at once as long as an earlier look hasn't ended. Nothing
// can be done about the thread that looks.
func lookAtAll[T any](look func() T) (found T, ok bool) {
	if stuckLooks.Load() > 0 {
		return found, false
	}
	ended := make(chan T, 1)
	var late atomic.Bool
	go func() {
		found := look()
		if late.Swap(true) {
			stuckLooks.Add(-1)
		}
		ended <- found
	}()
	patience := time.NewTimer(lookPatience)
	defer patience.Stop()
	select {
	case found = <-ended:
		return found, true
	case <-patience.C:
	}
	stuckLooks.Add(1)
	if late.Swap(true) {
		stuckLooks.Add(-1) // it has just ended
	}
	return found, false
}
