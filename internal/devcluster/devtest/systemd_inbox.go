package devtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// SystemdMessage is one message of the service.
type SystemdMessage struct {
	PID   int      // of the sender
	Lines []string // KEY=VALUE
	Files int      // how many descriptors came with it
}

// Has tells whether the message has a line.
func (m SystemdMessage) Has(line string) bool { return slices.Contains(m.Lines, line) }

// Value returns what the message says of a key; "" if nothing.
func (m SystemdMessage) Value(key string) string {
	for _, line := range m.Lines {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return value
		}
	}
	return ""
}

// storedFile is a descriptor in the store: a bare one, because an os.File may
// change whether reads of it block, which all who have the file share.
type storedFile struct {
	name string
	fd   int
}

// inbox is what the service manager hears of the service, and keeps for it.
type inbox struct {
	tb   testing.TB
	cfg  SystemdConfig
	conn *net.UnixConn
	done chan struct{} // closed when nothing is received any more

	mu       sync.Mutex // guards the rest
	main     *os.Process
	messages []SystemdMessage // of the running start
	awaited  int              // the first that no Await has returned or passed
	changed  chan struct{}    // closed at the next message
	store    []storedFile
	watchdog *time.Timer // nil: not running
}

func (b *inbox) open(tb testing.TB, address string, cfg SystemdConfig) error {
	tb.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}); err != nil || optErr != nil {
		return errors.Join(err, optErr)
	}
	b.tb, b.cfg, b.conn = tb, cfg, conn
	b.done, b.changed = make(chan struct{}), make(chan struct{})
	go b.receive()
	return nil
}

func (b *inbox) close() {
	_ = b.conn.Close()
	<-b.done
	b.unwatch()
	b.empty()
}

// begin takes note of a new main process. mu must be held.
func (b *inbox) begin(main *os.Process) {
	b.main, b.messages, b.awaited = main, nil, 0
}

// receive acts on messages until the socket is closed.
func (b *inbox) receive() {
	defer close(b.done)
	text, control := make([]byte, 1<<16), make([]byte, 1<<12)
	for {
		n, controlled, _, _, err := b.conn.ReadMsgUnix(text, control)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				b.tb.Errorf("receiving what the service says: %v", err)
			}
			return
		}
		pid, fds, err := parseControl(control[:controlled])
		if err != nil {
			b.tb.Errorf("receiving what the service says: %v", err)
		}
		m := SystemdMessage{PID: pid, Lines: strings.Split(strings.TrimSuffix(string(text[:n]), "\n"), "\n"), Files: len(fds)}
		for _, fd := range b.act(m, fds) {
			_ = unix.Close(fd) // for a barrier, this is the answer
		}
	}
}

func parseControl(control []byte) (pid int, fds []int, err error) {
	parts, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, nil, err
	}
	for i := range parts {
		switch parts[i].Header.Type {
		case unix.SCM_CREDENTIALS:
			credentials, err := unix.ParseUnixCredentials(&parts[i])
			if err != nil {
				return 0, fds, err
			}
			pid = int(credentials.Pid)
		case unix.SCM_RIGHTS:
			rights, err := unix.ParseUnixRights(&parts[i])
			if err != nil {
				return 0, fds, err
			}
			fds = append(fds, rights...)
		}
	}
	return pid, fds, nil
}

// act does what a message asks for and returns the descriptors that weren't
// taken.
func (b *inbox) act(m SystemdMessage, fds []int) (left []int) {
	if m.Has("FDSTORE=1") {
		// So does systemd, and hangs if nobody answers for the file.
		for _, fd := range fds {
			if err := unix.Fstat(fd, new(unix.Stat_t)); err != nil {
				b.tb.Errorf("systemd couldn't store %q: %v", m.Value("FDNAME"), err)
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.PID == os.Getpid() {
		return fds // drain's
	}
	if b.main == nil || m.PID != b.main.Pid {
		b.tb.Errorf("process %d, which isn't the main process, says %q, which systemd ignores (NotifyAccess=main)", m.PID, m.Lines)
		return fds
	}
	switch {
	case m.Has("FDSTOREREMOVE=1"):
		b.remove(m.Value("FDNAME"))
	case m.Has("FDSTORE=1"):
		fds = b.add(m, fds)
	}
	if b.cfg.Watchdog > 0 && (m.Has("READY=1") || m.Has("WATCHDOG=1")) {
		b.watch()
	}
	b.messages = append(b.messages, m)
	close(b.changed)
	b.changed = make(chan struct{})
	return fds
}

// add puts descriptors into the store and returns those that it doesn't take. mu must
// be held.
func (b *inbox) add(m SystemdMessage, fds []int) (left []int) {
	name := m.Value("FDNAME")
	if name == "" {
		name = "stored"
	}
	for _, fd := range fds {
		var err error
		switch {
		case slices.ContainsFunc(b.store, func(s storedFile) bool { return sameDescription(s.fd, fd) }):
			left = append(left, fd) // it has it
			continue
		case len(b.store) >= b.cfg.StoreMax:
			err = fmt.Errorf("it keeps %d at most", b.cfg.StoreMax)
		case !m.Has("FDPOLL=0"):
			err = pollable(fd)
		}
		if err != nil {
			b.tb.Logf("systemd drops %q, which should be stored: %v", name, err)
			left = append(left, fd)
			continue
		}
		b.store = append(b.store, storedFile{name, fd})
	}
	return left
}

// remove closes what is stored under a name. mu must be held.
func (b *inbox) remove(name string) {
	b.store = slices.DeleteFunc(b.store, func(s storedFile) bool {
		if s.name == name {
			_ = unix.Close(s.fd)
		}
		return s.name == name
	})
}

// empty closes all that is stored.
func (b *inbox) empty() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.store {
		_ = unix.Close(s.fd)
	}
	b.store = nil
}

// handOut returns copies of what is stored, the newest first, as systemd does.
func (b *inbox) handOut(tb testing.TB) (names []string, files []*os.File) {
	tb.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range slices.Backward(b.store) {
		names = append(names, s.name)
		files = append(files, duplicate(tb, s))
	}
	return names, files
}

// look does what daemon-reload may do at any time, and so while the service is
// down: it looks at all that is stored. The test fails if that has to wait.
func (b *inbox) look(tb testing.TB) {
	tb.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.store {
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			// What the kernel happens to know by now doesn't count.
			_ = unix.Statx(s.fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, 0, new(unix.Statx_t)) // any answer is one
		}()
		select {
		case <-looked:
		case <-time.After(systemdPatience):
			tb.Fatalf("systemd would wait for ever when it looks at %q, which is stored", s.name)
		}
	}
}

func duplicate(tb testing.TB, s storedFile) *os.File {
	tb.Helper()
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		tb.Fatalf("copying the stored descriptor %q: %v", s.name, err)
	}
	return os.NewFile(uintptr(fd), s.name)
}

// pollable tells whether systemd can watch a file for a hang-up, or need not.
func pollable(fd int) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(epoll)
	err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{})
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

// sameDescription tells whether two descriptors are of one open file.
func sameDescription(a, b int) bool {
	const kcmpFile = 0 // KCMP_FILE of kcmp(2)
	pid := uintptr(os.Getpid())
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, uintptr(a), uintptr(b), 0)
	return errno == 0 && order == 0
}

// watch starts the watchdog's time anew. mu must be held.
func (b *inbox) watch() {
	if b.watchdog != nil {
		b.watchdog.Stop()
	}
	main := b.main
	b.watchdog = time.AfterFunc(b.cfg.Watchdog, func() { _ = main.Signal(unix.SIGABRT) })
}

// unwatch ends the watchdog's time.
func (b *inbox) unwatch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watchdog != nil {
		b.watchdog.Stop()
	}
}

// drain returns when everything that was sent before has been acted on.
func (b *inbox) drain(tb testing.TB) {
	tb.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	defer reader.Close()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "", Net: "unixgram"})
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	address, ok := b.conn.LocalAddr().(*net.UnixAddr)
	if !ok {
		tb.Fatalf("the notification socket's address is %v", b.conn.LocalAddr())
	}
	_, _, err = conn.WriteMsgUnix([]byte("BARRIER=1"), unix.UnixRights(int(writer.Fd())), address)
	if err = errors.Join(err, writer.Close()); err != nil {
		tb.Fatal(err)
	}
	_, _ = reader.Read(make([]byte, 1)) // ends with the end of the file
}
