package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/scripts/internal/report"
)

// quantity is a number with its unit.
type quantity struct {
	Value float64 `json:"value"`
	Unit  string  `json:"unit"` // "s", "B", "1/s", or "" for a number of things
}

func seconds(d time.Duration) *quantity          { return &quantity{d.Seconds(), "s"} }
func nanoseconds(ns int64) *quantity             { return seconds(time.Duration(ns)) }
func size(bytes int64) *quantity                 { return &quantity{float64(bytes), "B"} }
func count(n int64) *quantity                    { return &quantity{float64(n), ""} }
func perSecond(times float64) *quantity          { return &quantity{times, "1/s"} }
func (q *quantity) over(other *quantity) float64 { return q.Value / other.Value }

// String returns the number with three digits that count.
func (q *quantity) String() string {
	switch {
	case q == nil:
		return "–"
	case q.Unit == "s" && q.Value < 1e-3:
		return report.ThreeDigits(q.Value*1e6) + " µs"
	case q.Unit == "s" && q.Value < 1:
		return report.ThreeDigits(q.Value*1e3) + " ms"
	case q.Unit == "s":
		return report.ThreeDigits(q.Value) + " s"
	case q.Unit == "B" && q.Value < 1e4:
		return report.ThreeDigits(q.Value) + " B"
	case q.Unit == "B":
		return report.ThreeDigits(q.Value/1e6) + " MB"
	case q.Unit == "1/s":
		return report.ThreeDigits(q.Value) + "/s"
	case q.Value != math.Trunc(q.Value):
		return report.ThreeDigits(q.Value)
	default:
		return fmt.Sprint(q.Value)
	}
}

// thousands writes a number with commas.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// row is a line of the table.
type row struct {
	Part     string    `json:"part"`
	What     string    `json:"what"`
	Measured *quantity `json:"measured"`
	Baseline *quantity `json:"baseline,omitempty"`
	Ratio    *float64  `json:"ratio,omitempty"`
	Goal     string    `json:"goal,omitempty"`
	Met      *bool     `json:"met,omitempty"`
}

// table is what has been measured.
type table struct{ rows []row }

// add adds a row that has no goal.
func (t *table) add(part, what string, measured, baseline *quantity) *row {
	r := row{Part: part, What: what, Measured: measured, Baseline: baseline}
	if baseline != nil && baseline.Value != 0 && baseline.Unit == measured.Unit {
		ratio := measured.over(baseline)
		r.Ratio = &ratio
	}
	t.rows = append(t.rows, r)
	return &t.rows[len(t.rows)-1]
}

// ratioGoal makes a ratio the row's goal.
func (r *row) ratioGoal(most float64) {
	r.goal(fmt.Sprintf("≤ %g×", most), r.Ratio != nil && *r.Ratio <= most)
}

// ratioAtLeast makes a ratio the row's goal where more is better.
func (r *row) ratioAtLeast(least float64) {
	r.goal(fmt.Sprintf("≥ %g×", least), r.Ratio != nil && *r.Ratio >= least)
}

func (r *row) goal(text string, met bool) { r.Goal, r.Met = text, &met }

// print prints the rows in the order of the parts.
func (t *table) print(out io.Writer, asJSON bool) error {
	slices.SortStableFunc(t.rows, func(a, b row) int {
		return slices.Index(partNames, a.Part) - slices.Index(partNames, b.Part)
	})
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(t.rows)
	}
	lines := [][]string{{"what", "measured", "baseline", "ratio", "goal", "met"}}
	for i := range t.rows {
		lines = append(lines, t.rows[i].cells())
	}
	return report.Align(out, lines, map[int]bool{1: true, 2: true, 3: true})
}

func (r *row) cells() []string {
	ratio, goal, met := "–", "–", "–"
	if r.Ratio != nil {
		ratio = fmt.Sprintf("%.2f×", *r.Ratio)
	}
	if r.Goal != "" {
		goal = r.Goal
	}
	if r.Met != nil {
		met = map[bool]string{true: "yes", false: "NO"}[*r.Met]
	}
	return []string{r.What, r.Measured.String(), r.Baseline.String(), ratio, goal, met}
}
