package thriftpool

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestOptions(t *testing.T) {
	for want, options := range map[string]Options{
		"MaxConns":         {MaxConns: -1},
		"MaxConnsPerHost":  {MaxConnsPerHost: -1},
		"MaxFrameSize":     {MaxFrameSize: math.MaxInt32 + 1},
		"MaxMessageSize":   {MaxMessageSize: -1},
		"transport 7":      {Transport: 7},
		"protocol 7":       {Protocol: 7},
		"RetryRatio":       {RetryRatio: 1.5},
		"HedgePercentile":  {HedgePercentile: 100},
		"HedgeAfter":       {HedgeAfter: -time.Second},
		"want at most 1":   {RetryRatio: math.NaN()},
		"less than 100":    {HedgePercentile: math.NaN()},
		"want 0 to 214748": {MaxAttempts: -1},
	} {
		if _, err := New(nil, options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with %+v: %v, want %q", options, err, want)
		}
	}
	o, err := Options{IdleTimeout: Never, MaxMessageSize: 1000}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if o.IdleTimeout != forever || o.Timeout != 10*time.Second || o.DialTimeout != time.Second || o.MaxFrameSize != 1000 {
		t.Errorf("the defaults are %+v", o)
	}
	// One configuration, with the limits, and no timeouts that would fight ours.
	c := o.configuration()
	if c.GetMaxFrameSize() != 1000 || c.GetMaxMessageSize() != 1000 || c.GetSocketTimeout() != 0 || !c.GetTBinaryStrictRead() {
		t.Errorf("the configuration is %+v", c)
	}
}

func TestHasty(t *testing.T) {
	begun := time.Now()
	task := task{begun: begun, deadline: begun.Add(10 * time.Second)}
	if task.hasty(begun) || task.hasty(begun.Add(5*time.Second)) || !task.hasty(begun.Add(6*time.Second)) {
		t.Error("the host is to have had half of the time")
	}
	for _, f := range []fault{{kind: timedOut}, {kind: undialled}, {kind: broken, hasty: true}, {kind: garbled, hasty: true}} {
		if !f.blames() {
			t.Errorf("%+v isn't the host's", f)
		}
	}
	for _, f := range []fault{{kind: timedOut, hasty: true}, {kind: undialled, hasty: true}, {kind: oversize}, {kind: cancelled}, {kind: stale}, {kind: unencodable}, {kind: unserved}, {kind: cut}} {
		if f.blames() {
			t.Errorf("%+v is the host's", f)
		}
	}
}
