package managed

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/kingpinfs/kingpin/internal/pyjson"
	"github.com/kingpinfs/kingpin/store"
)

// Decider is all the deciders of the fleet. Its decisions are those of the
// current snapshot, and agree with Python's; see "Decisions" in
// docs/wire-format.md.
type Decider struct{ *Reader[*DeciderView] }

// DeciderView is the deciders at a moment. It never changes. A decider that there
// isn't has the value 0.
type DeciderView struct{ values map[string]int }

// NewDecider returns the deciders, which do nothing before Open.
func NewDecider(options Options) *Decider {
	return &Decider{newReader(DeciderDomain, DeciderKey, options, new(DeciderView), decodeDecider)}
}

// decodeDecider lets an entry that is no decider keep the value it had.
func decodeDecider(content []byte, last *DeciderView) (*DeciderView, bool, error) {
	values, skipped, err := ParseDecider(content)
	if err != nil {
		return nil, false, err
	}
	var errs []error
	for _, bad := range skipped {
		if value, had := last.values[bad.Name]; had {
			values[bad.Name] = value
		}
		errs = append(errs, errors.New(bad.String()))
	}
	return &DeciderView{values}, true, errors.Join(errs...)
}

// Value returns the value of a decider, from 0 to 100, by its name in any case.
// ok says that there is one.
func (v *DeciderView) Value(name string) (value int, ok bool) {
	value, ok = v.values[name]
	if !ok {
		value, ok = v.values[strings.ToLower(name)]
	}
	return value, ok
}

// Names returns the names of all deciders, sorted.
func (v *DeciderView) Names() []string { return slices.Sorted(maps.Keys(v.values)) }

// DecideExperiment is true as often as the decider says: never at 0, always at
// 100.
func (v *DeciderView) DecideExperiment(name string) bool {
	value, _ := v.Value(name)
	return value >= MaxDecider || value > 0 && rand.IntN(MaxDecider) < value
}

// IsIDInExperiment tells whether an id is among the decider's share of all ids.
func (v *DeciderView) IsIDInExperiment(id int64, name string) bool {
	value, _ := v.Value(name)
	// As in Python, the remainder is never negative.
	return (id%MaxDecider+MaxDecider)%MaxDecider < int64(value)
}

// IsHashedIDInExperiment is IsIDInExperiment for any text, such as a number's
// digits, and independent of other deciders: it goes by a hash of name and id.
// The name is hashed as it is given here.
func (v *DeciderView) IsHashedIDInExperiment(id, name string) bool {
	value, _ := v.Value(name)
	return HashedID(id, name) < value
}

// HashedID returns the number from 0 to 99 that IsHashedIDInExperiment compares
// with a decider's value: md5("decider_" + name + id) mod 100.
func HashedID(id, name string) int {
	const prefix = "decider_"
	var buffer [128]byte
	text := append(append(append(buffer[:0], prefix...), name...), id...)
	sum := md5.Sum(text)
	return int(bits.Rem64(binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:]), MaxDecider))
}

// DecideExperiment is that of the current snapshot.
func (d *Decider) DecideExperiment(name string) bool { return d.Get().DecideExperiment(name) }

// IsIDInExperiment is that of the current snapshot.
func (d *Decider) IsIDInExperiment(id int64, name string) bool {
	return d.Get().IsIDInExperiment(id, name)
}

// IsHashedIDInExperiment is that of the current snapshot.
func (d *Decider) IsHashedIDInExperiment(id, name string) bool {
	return d.Get().IsHashedIDInExperiment(id, name)
}

// Set gives a decider a value, and makes it if it is missing; all others stay as
// they are. It returns the version that counts then: the old one if the decider
// had the value. Errors: Invalid, also if it is no decider; those of
// Client.Update.
func (d *Decider) Set(ctx context.Context, w store.Write, name string, value int) (store.Value, error) {
	err := CheckDeciderName(name)
	if err == nil && (value < 0 || value > MaxDecider) {
		err = fmt.Errorf("%w value %d: a decider's is from 0 to %d", store.Invalid, value, MaxDecider)
	}
	if err == nil {
		err = checkTexts(name)
	}
	if err != nil {
		return store.Value{}, fmt.Errorf("setting decider %q: %w", name, err)
	}
	return d.edit(ctx, DeciderShape, w, func(old pyjson.Value) (pyjson.Value, error) {
		return old.With(name, pyjson.Int(int64(value))), nil
	})
}

// Unset takes deciders away, whose value is 0 then. The rest is as with Set.
func (d *Decider) Unset(ctx context.Context, w store.Write, names ...string) (store.Value, error) {
	return d.edit(ctx, DeciderShape, w, func(old pyjson.Value) (pyjson.Value, error) { return withoutFields(old, names), nil })
}
