package thriftpool

import "sync/atomic"

// budget bounds retries and hedges: each call earns a part of one, each of them
// costs one, and no more than a burst is saved. It is safe for concurrent use.
type budget struct {
	perCall, burst int64 // in thousandths
	saved          atomic.Int64
}

const retryPrice = 1000

func newBudget(ratio float64, burst int) *budget {
	b := &budget{perCall: int64(ratio * retryPrice), burst: int64(burst) * retryPrice}
	if ratio < 0 {
		b.perCall, b.burst = 0, 0
	}
	b.saved.Store(b.burst)
	return b
}

// earn is for each call. A full budget isn't written to, so that it stays in every
// cache.
func (b *budget) earn() {
	if saved := b.saved.Load(); saved < b.burst {
		// Callers at once can save a little more than the burst; no harm.
		b.saved.Add(min(b.perCall, b.burst-saved))
	}
}

// spend is for each retry. It tells whether there may be one.
func (b *budget) spend() bool {
	if b.saved.Add(-retryPrice) >= 0 {
		return true
	}
	b.restore()
	return false
}

// restore is for a retry that wasn't made after all.
func (b *budget) restore() { b.saved.Add(retryPrice) }

// left returns how many retries there may be now.
func (b *budget) left() float64 { return float64(b.saved.Load()) / retryPrice }
