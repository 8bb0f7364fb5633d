package serverset

import (
	"sync/atomic"
	"time"
)

// fakeClock stands still unless it is moved. The zero value shows epoch.
type fakeClock struct{ passed atomic.Int64 }

func (c *fakeClock) now() time.Time { return epoch.Add(time.Duration(c.passed.Load())) }

func (c *fakeClock) pass(d time.Duration) { c.passed.Add(int64(d)) }
