package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

// service is something to register, which can be made to fail its check.
type service struct {
	t        testing.TB
	endpoint string
	port     string
	mu       sync.Mutex // guards listener
	listener net.Listener
}

// newService returns a service that is up.
func newService(t testing.TB) *service {
	t.Helper()
	s := &service{t: t}
	s.endpoint = "127.0.0.1:0"
	s.up()
	s.endpoint = s.listener.Addr().String()
	_, s.port, _ = net.SplitHostPort(s.endpoint)
	t.Cleanup(s.down)
	return s
}

func (s *service) up() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.endpoint)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = listener
}

// down refuses connections from now on.
func (s *service) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.listener.Close() // it may be down already
}

// registration is a running `kingpin register` of a service.
type registration struct {
	*process

	service *service
}

// startRegister runs `kingpin register -s svc -e prod` for a service, with
// further arguments, and logs as JSON.
func (f *fleet) startRegister(s *service, args ...string) *registration {
	f.t.Helper()
	return &registration{startProcess(f.t, f.registerCommand(s, args...)), s}
}

func (f *fleet) registerCommand(s *service, args ...string) *exec.Cmd {
	f.t.Helper()
	cmd := exec.Command(binary(f.t), append([]string{"register", "-s", "svc", "-e", "prod", "-p", s.port, "--log-format", "json"}, args...)...)
	cmd.Env = f.env()
	cmd.Dir = f.dir
	return cmd
}

// awaitRegistered waits until it has said that it registered, after the first
// skip bytes of what it has said.
func (r *registration) awaitRegistered(skip int) {
	r.t.Helper()
	r.awaitLine(skip, `"msg":"registered"`)
}

// logged returns when something was logged: by the log's own time.
func logged(t testing.TB, line string) time.Time {
	t.Helper()
	var entry struct {
		Time time.Time `json:"time"`
	}
	if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time.IsZero() {
		t.Fatalf("the log has the line %q: %v", line, err)
	}
	return entry.Time
}

// svcPath is the serverset that the tests register in.
const svcPath = "/discovery/svc/prod"

// awaitGone waits until a znode is gone.
func (z rawZK) awaitGone(znode string) {
	z.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		there, _, events, err := z.conn.ExistsW(z.chroot + znode)
		if err != nil {
			z.t.Fatal(err)
		}
		if !there {
			return
		}
		select {
		case <-events:
		case <-timeout.C:
			z.t.Fatalf("%s is still there after %v", znode, patience)
		}
	}
}

// member returns the one member of the serverset, when there is one.
func (z rawZK) member() string {
	z.t.Helper()
	var name string
	await(z.t, "one member", func() error {
		names, _, err := z.conn.Children(z.chroot + svcPath)
		if err != nil || len(names) != 1 {
			return fmt.Errorf("the members are %q: %w", names, errors.Join(err, errNotYet))
		}
		name = names[0]
		return nil
	})
	return name
}

// members returns how many members the serverset has, 0 if there is none.
func (z rawZK) members() int {
	z.t.Helper()
	names, _, err := z.conn.Children(z.chroot + svcPath)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		z.t.Fatal(err)
	}
	return len(names)
}

func init() { helpers["member-reporter"] = reportMembers }

// reportMembers is a service that says, when it is told to end, how many members
// the serverset has at that moment: by a session of its own, made before.
// Arguments: ZooKeeper's server, the serverset's znode, the port to listen on, and
// the exit code. Signals that it gets are printed.
func reportMembers(args []string) int {
	code, err := strconv.Atoi(args[3])
	if err == nil {
		err = report(args[0], args[1], args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 99
	}
	return code
}

func report(zookeeper, serverset, port string) error {
	conn, _, err := zk.Connect([]string{zookeeper}, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, _, err := conn.Exists("/"); err != nil {
		return err
	}
	signals := notifyAll()
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	defer listener.Close()
	fmt.Fprintln(os.Stdout, "listening")
	for sig := range signals {
		members, _, err := conn.Children(serverset)
		fmt.Fprintf(os.Stdout, "%v: members %d %v at %d\n", sig, len(members), err, time.Now().UnixNano())
		if sig == syscall.SIGTERM || sig == syscall.SIGINT {
			return nil
		}
	}
	return errors.New("no more signals")
}

// reported finds a line that a member-reporter printed.
func reported(t testing.TB, output, signal string) (members string, at time.Time) {
	t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(output)); lines.Scan(); {
		var n int
		var failure string
		var nanos int64
		if _, err := fmt.Sscanf(lines.Text(), signal+": members %d %s at %d", &n, &failure, &nanos); err == nil {
			return fmt.Sprint(n, " ", failure), time.Unix(0, nanos)
		}
	}
	t.Fatalf("no %s in %q", signal, output)
	return "", time.Time{}
}
