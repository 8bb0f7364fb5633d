package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/admin"
	"github.com/kingpinfs/kingpin/store"
)

// shownServerset is what `kingpin serverset show --output json` prints.
type shownServerset struct {
	Name   string `json:"name"`
	ZKPath string `json:"zk_path"`
	Exists bool   `json:"exists"` // the znode
	// Here is what this machine serves; nil if nothing, or if nobody knows.
	Here *admin.FileStatus `json:"here"`
	// HereError says why nobody knows what this machine serves; "" if that is
	// known.
	HereError string        `json:"here_error,omitempty"`
	Members   []shownMember `json:"members"`
}

// shownMember is an endpoint that is registered, or still served.
type shownMember struct {
	Endpoint string `json:"endpoint"` // "" if the name gives none
	// Znode is the name under which it is registered; "" if it isn't any more.
	Znode string `json:"znode,omitempty"`
	// RegisteredAt is by ZooKeeper's clock.
	RegisteredAt *time.Time `json:"registered_at,omitempty"`
	// Session is that of who registered it, in hexadecimal; "" if the znode is not
	// ephemeral, and so stays whatever becomes of the host.
	Session string `json:"session,omitempty"`
	// Standing compares the fleet with what this machine serves; "" if it serves
	// nothing, or nobody knows.
	Standing standing `json:"standing,omitempty"`
	Error    string   `json:"error,omitempty"` // why there is no endpoint
}

// standing is how a member's registration relates to what a machine serves.
type standing string

const (
	standsServed  standing = "served"
	standsHeld    standing = "held back"          // it came with a list that is held back
	standsGone    standing = "gone, still served" // it isn't registered any more
	standsWaiting standing = "not served yet"     // the machine doesn't know of it, or can't serve it
	standsNowhere standing = "no endpoint"        // nothing that could be served
)

func (a *app) newServersetShowCommand() *cobra.Command {
	var (
		options fleetOptions
		where   adminOptions
		output  outputFormat
	)
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show who is registered in a serverset, since when, and what this machine serves of it",
		Long: `Show the members of a serverset, as the fleet has them now: each endpoint, how
long ago it was registered, and the ZooKeeper session that keeps it registered.
NAME is a file name in /var/serverset, such as discovery.search.prod.

If this machine has a monitor, its list is compared with the fleet's. The last
column then says of each member: served; held back, because the list that it
came with is suspicious; gone, still served, because the list without it is; or
not served yet.

A session of "none" means that the registration stays whatever becomes of the
host: somebody made the znode by hand.`,
		Example: `  kingpin serverset show discovery.search.prod
  kingpin serverset show discovery.search.prod --output json | jq -r '.members[].endpoint'`,
		Args: cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			name, local := args[0], askHere(ctx, &where)
			if local.named(name) == nil && !strings.HasPrefix(name, "discovery.") {
				return usagef("%q is not the name of a serverset: want one as `kingpin serverset list` shows it, such as discovery.search.prod", name)
			}
			return a.withZooKeeper(ctx, &options, func(ctx context.Context, f *fleet) error {
				shown, err := showServerset(ctx, f.znodes, &local, name)
				if err != nil {
					return err
				}
				if output == outputJSON {
					return printJSON(a.stdout, shown)
				}
				return printServerset(a.stdout, shown, time.Now())
			})
		}),
		ValidArgsFunction: completeFirst(a.complete(&options, (*app).withZooKeeper, serversetNames)),
	}
	options.addFlags(cmd.Flags())
	where.addFlags(cmd.Flags())
	output.addFlag(cmd.Flags())
	return cmd
}

// showServerset finds out about a serverset. It is NotFound if neither the fleet
// nor this machine has it.
func showServerset(ctx context.Context, znodes store.Znodes, local *here, name string) (*shownServerset, error) {
	shown := &shownServerset{Name: name, Here: local.named(name), Members: []shownMember{}}
	if local.err != nil {
		shown.HereError = local.err.Error()
	}
	var err error
	if shown.Here != nil {
		shown.ZKPath = shown.Here.ZKPath
	} else if shown.ZKPath, err = findServerset(ctx, znodes, name); err != nil {
		return nil, err
	}
	members, err := readMembers(ctx, znodes, shown.ZKPath)
	missing := errors.Is(err, store.NotFound)
	switch {
	case missing && shown.Here == nil:
		return nil, fmt.Errorf("%w: see kingpin serverset list", err)
	case err != nil && !missing:
		return nil, err
	}
	shown.Exists = !missing
	shown.compare(members)
	return shown, nil
}

// compare fills in the members, and those that are served though they are none
// any more.
func (s *shownServerset) compare(members []member) {
	served, held := s.lists()
	registered := make(map[string]bool, len(members))
	for i := range members {
		m := newShownMember(&members[i])
		registered[m.Endpoint] = true
		switch {
		case s.Here == nil:
		case m.Endpoint == "":
			m.Standing = standsNowhere
		case served[m.Endpoint]:
			m.Standing = standsServed
		case held[m.Endpoint]:
			m.Standing = standsHeld
		default:
			m.Standing = standsWaiting
		}
		s.Members = append(s.Members, m)
	}
	for endpoint := range served {
		if !registered[endpoint] {
			s.Members = append(s.Members, shownMember{Endpoint: endpoint, Standing: standsGone})
		}
	}
	slices.SortStableFunc(s.Members, func(a, b shownMember) int { return cmp.Compare(a.Endpoint, b.Endpoint) })
}

// lists returns what this machine serves and what it holds back, as sets.
func (s *shownServerset) lists() (served, held map[string]bool) {
	served, held = make(map[string]bool), make(map[string]bool)
	if s.Here == nil {
		return served, held
	}
	for _, endpoint := range s.Here.Endpoints {
		served[endpoint] = true
	}
	if s.Here.Held != nil {
		for _, endpoint := range s.Here.Held.Endpoints {
			held[endpoint] = true
		}
	}
	return served, held
}

func newShownMember(m *member) shownMember {
	since := m.since().UTC()
	shown := shownMember{Endpoint: m.endpoint, Znode: m.znode, RegisteredAt: &since}
	if m.stat.EphemeralOwner != 0 {
		shown.Session = fmt.Sprintf("0x%x", uint64(m.stat.EphemeralOwner))
	}
	if m.err != nil {
		shown.Error = m.err.Error()
	}
	return shown
}

func printServerset(out io.Writer, s *shownServerset, now time.Time) error {
	znode := s.ZKPath
	if !s.Exists {
		znode += " (doesn't exist)"
	}
	summary := [][2]string{
		{"serverset", s.Name},
		{"znode", znode},
		{"members", s.countMembers()},
		{"here", s.describeHere()},
	}
	if s.Here != nil && s.Here.Held != nil {
		summary = append(summary, [2]string{"held back", describeHeld(s.Here.Held)}, [2]string{"", "to serve it now: kingpin serverset accept " + s.Name})
	}
	for _, line := range summary {
		fmt.Fprintf(out, "%-11s %s\n", line[0], line[1])
	}
	if len(s.Members) > 0 {
		fmt.Fprintln(out)
	}
	return printTable(out, []string{"ENDPOINT", "REGISTERED", "SESSION", "HERE"}, s.rows(now))
}

// countMembers says how many are registered, and how many of them are served.
func (s *shownServerset) countMembers() string {
	registered := 0
	standings := make(map[standing]int)
	for _, m := range s.Members {
		if m.Znode != "" {
			registered++
		}
		standings[m.Standing]++
	}
	text := fmt.Sprint(registered)
	for _, standing := range []standing{standsHeld, standsGone, standsWaiting, standsNowhere} {
		if n := standings[standing]; n > 0 {
			text += fmt.Sprintf("; %d %s", n, standing)
		}
	}
	return text
}

func (s *shownServerset) describeHere() string {
	switch {
	case s.HereError != "":
		return "unknown: " + s.HereError
	case s.Here == nil:
		return "not served by this machine"
	}
	text := describeHere(s.Here.State, len(s.Here.Endpoints))
	if s.Here.Error != "" {
		text += ": " + s.Here.Error
	}
	return text
}

// describeHeld says what is held back, since when, and until when.
func describeHeld(held *admin.Held) string {
	text := fmt.Sprintf("%s, since %s", count(len(held.Endpoints), "endpoint"), held.Since.Local().Format(time.DateTime))
	if held.ReleaseAt == nil {
		return text + ", until it recovers or is accepted"
	}
	return text + "; served at " + held.ReleaseAt.Local().Format(time.DateTime) + " if it stands unchanged"
}

func (s *shownServerset) rows(now time.Time) [][]string {
	rows := make([][]string, len(s.Members))
	for i, m := range s.Members {
		endpoint, registered, session := m.Endpoint, "", ""
		if m.Znode != "" {
			registered = ago(now, m.RegisteredAt)
			session = cmp.Or(m.Session, "none")
		}
		if endpoint == "" {
			endpoint = m.Znode
		}
		rows[i] = []string{endpoint, registered, session, string(m.Standing)}
	}
	return rows
}
