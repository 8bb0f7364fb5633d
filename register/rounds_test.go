package register

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestJudge(t *testing.T) {
	// p passes, f fails. After each the health: ? unknown, + healthy, - unhealthy.
	for _, test := range []struct {
		rise, fall       int
		outcomes, health string
	}{
		{2, 3, "pp", "?+"},
		{2, 3, "fff", "??-"},
		{2, 3, "pfpfpp", "?????+"},
		{2, 3, "ppffpffpfff", "?+++++++++-"},
		{2, 3, "fffpfpp", "??----+"},
		{1, 1, "pfpf", "+-+-"},
		{3, 1, "fppfppp", "------+"},
	} {
		j := newJudge(test.rise, test.fall)
		var got strings.Builder
		for _, outcome := range test.outcomes {
			before := j.health
			if changed := j.observe(outcome == 'p'); changed != (j.health != before) {
				t.Errorf("rise %d, fall %d, %s: it says changed=%v from %s to %s", test.rise, test.fall, test.outcomes, changed, before, j.health)
			}
			got.WriteString(map[Health]string{HealthUnknown: "?", Healthy: "+", Unhealthy: "-"}[j.health])
		}
		if got.String() != test.health {
			t.Errorf("rise %d, fall %d, %s: %s, want %s", test.rise, test.fall, test.outcomes, &got, test.health)
		}
	}
}

// change is what the rounds said at a time after their start.
type change struct {
	after  time.Duration
	health Health
}

// observe makes rounds of checks for a time, and returns when the health changed.
func observe(t *testing.T, cfg Config, during time.Duration) (changes []change, last Status) {
	t.Helper()
	start := time.Now()
	before := HealthUnknown
	cfg.Changed = func(s Status) {
		if s.Health != before {
			before = s.Health
			changes = append(changes, change{time.Since(start), s.Health})
		}
	}
	r := New(cfg)
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	r.rounds(ctx, "10.0.0.1:80")
	return changes, r.Status()
}

// script is a check that takes a time, and fails from one moment to another.
type script struct {
	takes          time.Duration
	failFrom, till time.Duration
	calls          int
	begin          time.Time
}

func (*script) String() string { return "script" }

func (s *script) Check(ctx context.Context, _ string) error {
	if s.calls++; s.calls == 1 {
		s.begin = time.Now()
	}
	since := time.Since(s.begin)
	if !sleep(ctx, s.takes) {
		return ctx.Err()
	}
	if s.failFrom <= since && since < s.till {
		return errors.New("it is broken")
	}
	return nil
}

func TestRiseAndFall(t *testing.T) {
	for name, test := range map[string]struct {
		check *script
		want  []change
	}{
		"at once": {&script{failFrom: 10 * time.Second, till: 20 * time.Second}, []change{
			{time.Second, Healthy}, {12 * time.Second, Unhealthy}, {21 * time.Second, Healthy}}},
		"slow": {&script{takes: 400 * time.Millisecond, failFrom: 10 * time.Second, till: 20 * time.Second}, []change{
			{1400 * time.Millisecond, Healthy}, {12400 * time.Millisecond, Unhealthy}, {21400 * time.Millisecond, Healthy}}},
		"too slow": {&script{takes: time.Hour}, []change{{2500 * time.Millisecond, Unhealthy}}},
		"a blip":   {&script{failFrom: 10 * time.Second, till: 12 * time.Second}, []change{{time.Second, Healthy}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, last := observe(t, Config{Checks: []Check{test.check}}, 29500*time.Millisecond)
				if !slices.Equal(got, test.want) {
					t.Errorf("the health changed at %v, want %v", got, test.want)
				}
				if c := last.Checks[0]; test.check.calls != 30 || c.Passed+c.Failed < 29 {
					t.Errorf("there were %d checks; the status is %+v", test.check.calls, c)
				}
			})
		})
	}
}

// The next round of checks that take longer than the interval comes at once.
func TestSlowRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := &script{takes: 3 * time.Second}
		got, _ := observe(t, Config{Checks: []Check{check}, Timeout: 10 * time.Second}, 10*time.Second)
		if want := []change{{6 * time.Second, Healthy}}; !slices.Equal(got, want) || check.calls != 4 {
			t.Errorf("the health changed at %v, want %v; %d checks", got, want, check.calls)
		}
	})
}

// All checks must pass, and each of them is made, at the same time.
func TestAllMustPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		slow := func(ctx context.Context, endpoint string) error {
			calls.Add(1)
			if endpoint != "10.0.0.1:80" {
				t.Errorf("the endpoint is %q", endpoint)
			}
			sleep(ctx, 300*time.Millisecond)
			return nil
		}
		broken := Func("broken", func(context.Context, string) error { calls.Add(1); return errors.New("no") })
		got, last := observe(t, Config{Checks: []Check{Func("slow", slow), broken, Func("slow, too", slow)}, Rise: 1, Fall: 1}, 5500*time.Millisecond)
		if want := []change{{300 * time.Millisecond, Unhealthy}}; !slices.Equal(got, want) || calls.Load() != 18 {
			t.Errorf("the health changed at %v, want %v; %d checks", got, want, calls.Load())
		}
		if last.Error != "check broken: no" || !last.Checks[0].Passing || last.Checks[1].Passing || last.Checks[1].Error != "no" {
			t.Errorf("the status is %+v", last)
		}
	})
}

func TestTimeoutIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, last := observe(t, Config{Checks: []Check{&script{takes: time.Hour}}}, 2*time.Second)
		if want := "check script: no answer within 500ms"; last.Error != want {
			t.Errorf("the error is %q, want %q", last.Error, want)
		}
	})
}

// A function that hangs, whatever its context says, is a check that fails: at its
// timeout, and in each round until it returns. It isn't called again meanwhile, and
// the checks end without it.
func TestFunctionHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		returns := make(chan struct{})
		defer close(returns)
		hangs := Func("hangs", func(context.Context, string) error {
			if calls.Add(1) == 3 {
				<-returns
			}
			return nil
		})
		begun := time.Now()
		got, last := observe(t, Config{Checks: []Check{hangs}}, 10*time.Second)
		want := []change{{time.Second, Healthy}, {4500 * time.Millisecond, Unhealthy}}
		if !slices.Equal(got, want) || calls.Load() != 3 {
			t.Errorf("the health changed at %v, want %v; %d calls", got, want, calls.Load())
		}
		if want := "check hangs: no answer within 500ms: the check before is still running"; last.Error != want {
			t.Errorf("the error is %q, want %q", last.Error, want)
		}
		if took := time.Since(begun); took != 10*time.Second+functionLimit {
			t.Errorf("the checks ended after %v", took)
		}
	})
}

// A function that has hung and returns is called again, and the checks don't end
// before one that is about to return has.
func TestFunctionReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		tardy := Func("tardy", func(context.Context, string) error {
			defer func() { ran++ }()
			switch ran {
			case 0:
				<-time.After(3200 * time.Millisecond)
			case 5:
				<-time.After(700 * time.Millisecond)
			}
			return nil
		})
		got, last := observe(t, Config{Checks: []Check{tardy}}, 7300*time.Millisecond)
		if want := []change{{2500 * time.Millisecond, Unhealthy}, {4 * time.Second, Healthy}}; !slices.Equal(got, want) {
			t.Errorf("the health changed at %v, want %v", got, want)
		}
		if c := last.Checks[0]; ran != 6 || c.Passed != 4 {
			t.Errorf("it ran %d times; the status is %+v", ran, c)
		}
	})
}
