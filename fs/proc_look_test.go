package fs

import (
	"testing"
	"testing/synctest"
)

// A look that doesn't end holds up nobody for long, and those after it not at all.
func TestLookAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		if found, ok := lookAtAll(func() int { <-stuck; return 1 }); ok || found != 0 {
			t.Errorf("a look that hasn't ended found %d, %v", found, ok)
		}
		if _, ok := lookAtAll(func() int { t.Error("there is a look while another one is stuck"); return 2 }); ok {
			t.Error("while another one is stuck a look finds something")
		}
		close(stuck)
		synctest.Wait()
		if found, ok := lookAtAll(func() int { return 3 }); !ok || found != 3 {
			t.Errorf("after that a look found %d, %v", found, ok)
		}
	})
}
