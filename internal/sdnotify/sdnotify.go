// Package sdnotify is a service's side of systemd's notification protocol: it
// tells the service manager how the service stands, and hands it descriptors
// to keep for the next start. See sd_notify(3) and "File Descriptor Store" in
// systemd's documentation.
//
// The manager is found through the process's environment, which the functions
// read at every call. They may be called concurrently, but for Stored.
package sdnotify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// socketVariable names the manager's socket. A leading @ stands for the NUL of
// an abstract address.
const socketVariable = "NOTIFY_SOCKET"

// limitVariable says how many descriptors the manager keeps.
const limitVariable = "FDSTORE"

// sendTimeout bounds how long a message waits for a manager that doesn't read.
// It may itself be waiting for what the caller serves.
const sendTimeout = 5 * time.Second

// Notify sends a message of KEY=VALUE lines, as "READY=1" or
// "STATUS=reading\nWATCHDOG=1". Without a service manager it does nothing. It
// waits at most 5 s for a manager that reads no messages. That a message was
// sent doesn't say that it was acted on; see Barrier.
func Notify(state string) error {
	return send(state)
}

// Barrier returns when the service manager has acted on all messages that this
// process sent before, or when ctx is done. Without a service manager it does
// nothing. It needs systemd 246.
func Barrier(ctx context.Context) (err error) {
	if !Enabled() {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("wait for the service manager to act on messages: %w", err)
		}
	}()
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	// The manager holds the other end until it comes to this message.
	err = errors.Join(send("BARRIER=1", writer), writer.Close())
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = reader.SetReadDeadline(time.Now()) })
	defer stop()
	_, err = reader.Read(make([]byte, 1))
	switch {
	case errors.Is(err, io.EOF): // it has closed its end
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return context.Cause(ctx)
	case err == nil:
		return errors.New("it answered, where it should have closed")
	default:
		return err
	}
}

// Enabled tells whether there is a service manager to notify.
func Enabled() bool {
	return os.Getenv(socketVariable) != ""
}

// StoreLimit returns how many descriptors the service manager says it keeps
// for this service (FileDescriptorStoreMax=); 0 if it keeps none, or doesn't
// say. systemd says it since version 254, by the environment variable FDSTORE;
// for an older one the unit can set the variable.
func StoreLimit() int {
	limit, err := strconv.Atoi(os.Getenv(limitVariable))
	if err != nil || limit < 0 || !Enabled() {
		return 0
	}
	return limit
}

// Store hands the service manager a duplicate of f to keep under a name, in
// place of what it keeps under that name already. f stays the caller's. The
// next start of the service finds it in Stored; what a start finds there stays
// in the store, and need not be stored again. Without a service manager Store
// does nothing.
//
// The manager doesn't answer: past StoreLimit it drops the descriptor with a
// line in its log.
//
// f must not be of a FUSE mount, its root included. systemd calls fstat on what
// it is handed, and again on daemon-reload and daemon-reexec, for which the
// kernel may ask whoever serves the mount. While nobody does, process 1 waits,
// uninterruptibly, and can't start who would. The next start gets the mount by
// open_tree of where it is seen, which asks nobody. (/dev/fuse is no such file.)
func Store(name string, f *os.File) error {
	// systemd keeps several under one name, in no order that is promised.
	if err := Unstore(name); err != nil {
		return err
	}
	// Without FDPOLL=0 systemd polls what it keeps, to drop what has hung up.
	// It can't poll an O_PATH descriptor, such as a mount's, and refuses it. The
	// poll of /dev/fuse would wake it at every request, and one that isn't
	// mounted yet counts as hung up. Files, directories and memfds are never
	// polled.
	if err := send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, f); err != nil {
		return fmt.Errorf("store the descriptor %q with the service manager: %w", name, err)
	}
	return nil
}

// Unstore has the service manager close what it keeps under a name, if it
// keeps anything. Without a service manager it does nothing.
func Unstore(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := send("FDSTOREREMOVE=1\nFDNAME=" + name); err != nil {
		return fmt.Errorf("remove the descriptor %q from the service manager's store: %w", name, err)
	}
	return nil
}

// maxName is the greatest length of a name that systemd takes.
const maxName = 255

// checkName refuses names that systemd refuses, or that would end up as
// something else in LISTEN_FDNAMES.
func checkName(name string) error {
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
		return fmt.Errorf("the name of a stored descriptor %q: want 1 to %d printable ASCII characters, no space and no colon", name, maxName)
	}
	return nil
}

// Stored takes over the descriptors that the service manager kept, by their
// names. They are the caller's, and closed on exec. Of several with the same
// name one is taken, and the others are closed. Without any it returns nil.
//
// The first call takes them and clears the environment variables that tell of
// them, so that no child takes them for its own; a further call returns nil.
// Call it before anything else opens or closes descriptors by number.
func Stored() map[string]*os.File {
	var stored map[string]*os.File
	for _, f := range activation.Files(true) {
		if stored == nil {
			stored = map[string]*os.File{}
		}
		if _, taken := stored[f.Name()]; taken {
			_ = f.Close() // there is nobody to tell, and nothing to be done
			continue
		}
		stored[f.Name()] = f
	}
	return stored
}

// WatchdogInterval returns the time in which the service manager wants to hear
// "WATCHDOG=1" again, before it takes the service for hung; 0 if it doesn't
// watch this process. Send it at half that time.
func WatchdogInterval() time.Duration {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0 // no manager writes what can't be parsed
	}
	return interval
}

// send sends a message with descriptors to the service manager; it does
// nothing where there is none.
func send(state string, files ...*os.File) (err error) {
	path := os.Getenv(socketVariable)
	if path == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("notify the service manager at %q (%s): %w", path, socketVariable, err)
		}
	}()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fd, err := descriptor(f)
			if err != nil {
				return err
			}
			fds = append(fds, fd)
		}
		rights = unix.UnixRights(fds...)
	}
	socket, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	// WriteMsgUnix can't be used: it refuses connected sockets.
	var sendErr error
	err = socket.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), []byte(state), rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	runtime.KeepAlive(files)
	if err != nil {
		return err
	}
	return sendErr
}

// descriptor returns f's number without making it blocking, as f.Fd would. The
// caller must keep f alive while it uses the number.
func descriptor(f *os.File) (int, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	number := -1
	if err := conn.Control(func(fd uintptr) { number = int(fd) }); err != nil {
		return -1, err
	}
	return number, nil
}
