package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/register"
)

// TestChecking has the watchdog be fed for as long as the next checks can take
// with the interval and the timeout that were asked for, and not for ever.
func TestChecking(t *testing.T) {
	for name, test := range map[string]struct{ interval, timeout, limit time.Duration }{
		"as by default":    {register.DefaultInterval, register.DefaultTimeout, 31500 * time.Millisecond},
		"a long interval":  {5 * time.Minute, time.Second, 5*time.Minute + 31*time.Second},
		"a long timeout":   {time.Second, time.Minute, 2*time.Minute + 30*time.Second},
		"both of them are": {time.Hour, time.Minute, 61*time.Minute + 30*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				news := newManagerNews(test.interval, test.timeout)
				s := register.Status{Checks: []register.CheckStatus{{Name: "never made"}}}
				if !news.checking(s) {
					t.Error("it is stuck before the first check")
				}
				s.Checks = append(s.Checks, register.CheckStatus{LastAt: time.Now()})
				<-time.After(test.limit)
				if !news.checking(s) {
					t.Errorf("it is stuck after %v", test.limit)
				}
				<-time.After(time.Nanosecond)
				if news.checking(s) {
					t.Errorf("it isn't stuck after more than %v", test.limit)
				}
			})
		})
	}
}
