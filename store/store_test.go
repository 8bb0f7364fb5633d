package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/store"
	"github.com/kingpinfs/kingpin/store/storetest"
)

func TestConformanceInMemory(t *testing.T) {
	storetest.Store(t, func(*testing.T) (store.Znodes, store.Blobs) {
		m := storetest.NewMemory()
		return m.Znodes, m.Blobs
	})
}

var ref = store.Ref{Path: "/config/manageddata/test/x"}

func newStore(t *testing.T) (*store.Store, *storetest.Memory) {
	t.Helper()
	m := storetest.NewMemory()
	s := store.New(m.Znodes, m.Blobs, store.Options{})
	if err := s.CreatePointer(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), ref, []byte("old"), store.Write{}); err != nil {
		t.Fatal(err)
	}
	return s, m
}

func TestWritingAMissingValueLeavesNothing(t *testing.T) {
	m := storetest.NewMemory()
	s := store.New(m.Znodes, m.Blobs, store.Options{})
	if _, err := s.Put(t.Context(), ref, []byte("new"), store.Write{}); !errors.Is(err, store.NotFound) {
		t.Errorf("error is %v, want %v", err, store.NotFound)
	}
	if left, _, err := m.Znodes.Children(t.Context(), "/"); err != nil || len(left) > 0 {
		t.Errorf("znodes %q are left, error %v", left, err)
	}
}

var errCut = &store.Error{Op: "testing", Subject: "cut", Kind: store.Unavailable}

// A write that fails at any step publishes nothing, and repeating it works.
func TestEveryFailureCanBeRetried(t *testing.T) {
	for _, step := range []string{"lock", "get", "set", "put content", "put index"} {
		t.Run(step, func(t *testing.T) {
			s, m := newStore(t)
			m.Znodes.Fail = func(op, _ string) error {
				if op == step {
					return errCut
				}
				return nil
			}
			m.Blobs.Fail = func(op, key string) error {
				if step == "put content" && op == "put" && key != ref.IndexKey() ||
					step == "put index" && op == "put" && key == ref.IndexKey() {
					return errCut
				}
				return nil
			}
			if _, err := s.Put(t.Context(), ref, []byte("new"), store.Write{}); !errors.Is(err, store.Unavailable) {
				t.Fatalf("error is %v, want %v", err, store.Unavailable)
			} else if errors.Is(err, store.ErrOutcomeUnknown) != (step == "set") {
				t.Errorf("is the outcome unknown? %v", err)
			}
			m.Znodes.Fail, m.Blobs.Fail = nil, nil
			if v, err := s.Get(t.Context(), ref); err != nil || string(v.Content) != "old" {
				t.Fatalf("after the failure: %q, %v", v.Content, err)
			}
			if _, err := s.Put(t.Context(), ref, []byte("new"), store.Write{}); err != nil {
				t.Fatal(err)
			}
			if v, err := s.Get(t.Context(), ref); err != nil || string(v.Content) != "new" {
				t.Fatalf("after the retry: %q, %v", v.Content, err)
			}
		})
	}
}

// The answer of the last step is lost, but the version counts: the write is
// acknowledged.
func TestLostAnswer(t *testing.T) {
	s, m := newStore(t)
	m.Znodes.AfterSet = func(string) error { return errCut }
	if _, err := s.Put(t.Context(), ref, []byte("new"), store.Write{}); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get(t.Context(), ref); err != nil || string(v.Content) != "new" {
		t.Fatalf("%q, %v", v.Content, err)
	}
}

func TestLostAnswerAndThenZooKeeper(t *testing.T) {
	s, m := newStore(t)
	down := false
	m.Znodes.AfterSet = func(string) error { down = true; return errCut }
	m.Znodes.Fail = func(string, string) error {
		if down {
			return errCut
		}
		return nil
	}
	_, err := s.Put(t.Context(), ref, []byte("new"), store.Write{})
	if !errors.Is(err, store.Unavailable) || errors.Is(err, store.Conflict) || !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Fatalf("error is %v, want %v", err, store.ErrOutcomeUnknown)
	}
}

func TestVersionAfterClockWentBack(t *testing.T) {
	m := storetest.NewMemory()
	now := time.Unix(1448012345, 678901234)
	s := store.New(m.Znodes, m.Blobs, store.Options{Now: func() time.Time { return now }})
	if err := s.CreatePointer(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	var got []store.Version
	for range 3 {
		v, err := s.Put(t.Context(), ref, []byte("x"), store.Write{})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v.Version)
		now = now.Add(-time.Hour)
	}
	if want := "[1448012345.678901 1448012345.678902 1448012345.678903]"; fmt.Sprint(got) != want {
		t.Errorf("versions %v, want %v", got, want)
	}
}

func TestWithoutS3(t *testing.T) {
	m := storetest.NewMemory()
	s := store.New(m.Znodes, nil, store.Options{})
	ctx := context.Background()
	if err := s.CreatePointer(ctx, ref); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, ref); err != nil {
		t.Errorf("a pointer never written needs no S3: %v", err)
	}
	if _, err := s.Put(ctx, ref, nil, store.Write{}); !errors.Is(err, store.Unavailable) {
		t.Errorf("error is %v, want %v", err, store.Unavailable)
	}
}
