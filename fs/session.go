package fs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The type that mounts of ours have in /proc/mounts is mountType; the kernel
// puts it together from the filesystem and the subtype.
const (
	fuseType  = "fuse"
	subtype   = "kingpin"
	mountType = fuseType + "." + subtype
)

// session is a FUSE session: the kernel's side of a mount, wherever it is
// mounted, if anywhere. It lives as long as somebody has dev open.
type session struct {
	dev int // of /dev/fuse, blocking
	// mount is a mount of the session's filesystem that nobody else sees. Until
	// the session is shown it is the only one, which will be moved into place;
	// from then on it is a copy through which we alone may write.
	mount  int
	device uint32 // the minor number of its mounts' device
	ledger *ledger
	// writers says that this is the session of those who write, whose ledger is
	// that of the session beside which it is.
	writers bool
}

// handshakeTimeout is how long the kernel may take to send INIT, which it does
// when the session is created.
const handshakeTimeout = 10 * time.Second

// newSession starts a session. source is what /proc/mounts will show of it. The
// error says why FUSE can't be had.
func newSession(ctx context.Context, source string, log *slog.Logger) (*session, error) {
	l, err := newLedger()
	if err != nil {
		return nil, err
	}
	s, err := startSession(ctx, &session{dev: -1, mount: -1, ledger: l}, source, log)
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return s, nil
}

// startSession starts a session whose ledger is there. If it fails, that stays.
func startSession(ctx context.Context, s *session, source string, log *slog.Logger) (_ *session, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if s.dev, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("opening /dev/fuse: %w%s", err, adviseDevice(err))
	}
	if s.mount, err = mountDetached(s.dev, source); err != nil {
		return nil, fmt.Errorf("mounting: %w%s", err, adviseMount(err))
	}
	if s.device, err = deviceOf(s.mount); err != nil {
		return nil, err
	}
	return s, s.handshake(ctx, log)
}

// mountDetached creates the filesystem that dev serves, and a mount of it that
// has no place yet.
func mountDetached(dev int, source string) (int, error) {
	fs, err := unix.Fsopen(fuseType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for _, option := range [][2]string{
		{"source", source}, {"subtype", subtype}, {"fd", strconv.Itoa(dev)}, {"rootmode", "40000"},
		{"user_id", strconv.Itoa(os.Geteuid())}, {"group_id", strconv.Itoa(os.Getegid())},
		{"max_read", strconv.Itoa(maxTransfer)}, {"allow_other"}, {"default_permissions"},
	} {
		if option[1] == "" {
			err = unix.FsconfigSetFlag(fs, option[0])
		} else {
			err = unix.FsconfigSetString(fs, option[0], option[1])
		}
		if err != nil {
			return -1, fmt.Errorf("option %q: %w", option[0], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}

// deviceOf returns the minor number of the device that stat shows for a mount of
// FUSE's, whose major number is 0. It asks the filesystem nothing.
func deviceOf(mount int) (uint32, error) {
	var st unix.Statx_t
	if err := unix.Statx(mount, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, 0, &st); err != nil {
		return 0, fmt.Errorf("looking at a mount: %w", err)
	}
	if st.Dev_major != 0 {
		return 0, fmt.Errorf("a filesystem on the disk %d:%d is where a FUSE mount should be", st.Dev_major, st.Dev_minor)
	}
	return st.Dev_minor, nil
}

// handshake answers the kernel's INIT and keeps it for those who will serve.
func (s *session) handshake(ctx context.Context, log *slog.Logger) error {
	if err := awaitRequest(ctx, s.dev); err != nil {
		return fmt.Errorf("waiting for the kernel's INIT: %w", err)
	}
	in := make([]byte, bufferSize)
	n, err := unix.Read(s.dev, in)
	if err != nil {
		return fmt.Errorf("reading the kernel's INIT: %w", err)
	}
	if err := checkProtocol(in[:n]); err != nil {
		return err
	}
	if err := s.keepInit(in[:n]); err != nil {
		return err
	}
	// INIT is answered without asking the handlers.
	c := newConnection(s.dev, in[:n], &fuseFace{refuseWrites: refuseWrites{fuse.NewDefaultRawFileSystem()}}, log)
	return c.answer(in[:n], make([]byte, bufferSize))
}

// keepInit notes the kernel's INIT.
func (s *session) keepInit(request []byte) error {
	if s.writers {
		return s.ledger.setWriters(s.device, request)
	}
	s.ledger.header.device = s.device
	return s.ledger.setInit(request)
}

// awaitRequest returns when a request can be read without blocking.
func awaitRequest(ctx context.Context, dev int) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	fds := []unix.PollFd{{Fd: int32(dev), Events: unix.POLLIN}}
	for {
		const slice = 100 // milliseconds, after which ctx is looked at
		n, err := unix.Poll(fds, slice)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// minProtocol is the first minor version of the protocol with NOTIFY_RESEND, by
// which requests that a dead process has read are given to its successor. Without
// it whoever sent them would wait for ever.
const minProtocol = 40

// checkProtocol looks at what the kernel offers in its INIT request.
func checkProtocol(request []byte) error {
	const flags, extended, flags2 = 12, 1 << 30, 16
	if len(request) < requestHeader+flags+4 {
		return fmt.Errorf("the kernel's INIT has only %d bytes", len(request))
	}
	body := request[requestHeader:]
	major, minor := binary.NativeEndian.Uint32(body), binary.NativeEndian.Uint32(body[4:])
	offered := uint64(binary.NativeEndian.Uint32(body[flags:]))
	if offered&extended != 0 && len(body) >= flags2+4 {
		offered |= uint64(binary.NativeEndian.Uint32(body[flags2:])) << 32
	}
	if major != 7 || minor < minProtocol || offered&fuse.CAP_HAS_RESEND == 0 {
		return fmt.Errorf("this kernel's FUSE protocol %d.%d can't hand a mount from one process to the next, as 7.%d (Linux 6.9) can", major, minor, minProtocol)
	}
	return nil
}

// alive reports whether the session hasn't been ended: by an umount of its last
// mount, or an abort.
func (s *session) alive() bool {
	fds := []unix.PollFd{{Fd: int32(s.dev)}}
	for {
		_, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) == 0
		}
	}
}

// shareDevice returns a copy of the descriptor of /dev/fuse, which the caller
// closes.
func (s *session) shareDevice() (int, error) {
	return unix.FcntlInt(uintptr(s.dev), unix.F_DUPFD_CLOEXEC, 3)
}

// share returns a copy of the descriptor of /dev/fuse and another mapping of the
// ledger, which the caller closes.
func (s *session) share() (dev int, l *ledger, err error) {
	if dev, err = s.shareDevice(); err != nil {
		return -1, nil, err
	}
	memory, err := unix.FcntlInt(uintptr(s.ledger.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		if l, err = attachLedger(memory); err != nil {
			unix.Close(memory)
		}
	}
	if err != nil {
		unix.Close(dev)
		return -1, nil, err
	}
	return dev, l, nil
}

// abort ends the session by force, wherever it is mounted and whoever has its
// device open: requests under way fail, and all that come. It is done through the
// filesystem of FUSE connections, which need not be mounted anywhere for it.
func (s *session) abort() error {
	err := abortConnection(s.device)
	if err != nil && !errors.Is(err, unix.ENOENT) { // it has ended
		return fmt.Errorf("aborting a FUSE session: %w", err)
	}
	return nil
}

func abortConnection(device uint32) error {
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	connections, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(connections)
	fd, err := unix.Openat(connections, strconv.Itoa(int(device))+"/abort", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return writeAll(fd, []byte("1"))
}

// close closes what the session has of descriptors, and its ledger.
func (s *session) close() error {
	err := s.closeFiles()
	if s.ledger != nil && !s.writers {
		err = errors.Join(err, s.ledger.close())
	}
	return err
}

func (s *session) closeFiles() error {
	var errs []error
	for _, fd := range []*int{&s.mount, &s.dev} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}

func adviseDevice(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return "; load the kernel's module (modprobe fuse), or give the container the device (--device /dev/fuse)"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "; run as root, or give the container the device (--device /dev/fuse)"
	}
	return ""
}

func adviseMount(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "; run as root, or give the container the capability (--cap-add SYS_ADMIN)"
	case errors.Is(err, unix.ENODEV):
		return "; load the kernel's module (modprobe fuse)"
	}
	return ""
}
