package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	kpfs "github.com/kingpinfs/kingpin/fs"
)

// A holder and its worker talk over a socket, a JSON object a packet. The two may
// be different builds, because a worker is what is installed when it starts: so
// kinds and fields are added but never change their meaning, and unknown ones
// are ignored.
type message struct {
	Kind messageKind `json:"kind"`

	Hello   *hello       `json:"hello,omitempty"`   // sayHello
	Started *started     `json:"started,omitempty"` // sayStarted
	Volume  string       `json:"volume,omitempty"`  // sayWake, sayRefresh, sayEnded: configVolume or serversetVolume
	Wakeup  *kpfs.Wakeup `json:"wakeup,omitempty"`  // sayWake
	ID      uint64       `json:"id,omitempty"`      // sayWake and sayWoken: which one
	Error   string       `json:"error,omitempty"`   // sayWoken, sayShown, sayFailed; "" if all went well
	Code    int          `json:"code,omitempty"`    // sayFailed: the exit code
	Ready   string       `json:"ready,omitempty"`   // sayReady: the line
}

type messageKind string

// What a worker hears.
const (
	sayHello  messageKind = "hello"  // first: what to do
	sayShown  messageKind = "shown"  // after sayLoaded: the mounts can be seen, or why not
	sayWoken  messageKind = "woken"  // after sayWake: it is done
	sayPing   messageKind = "ping"   // answer by sayPong
	sayResync messageKind = "resync" // read everything again
	sayStop   messageKind = "stop"   // save everything and end
	// The mounts are about to be taken away: keep the plain files ahead of them, and
	// answer by sayAhead.
	sayUnmounting messageKind = "unmounting"
)

// What a holder hears.
const (
	sayStarted messageKind = "started" // first, before anything else is done
	sayServing messageKind = "serving" // the mounts that could be seen before are served again
	sayLoaded  messageKind = "loaded"  // what was served last is served, by mounts that may be shown now
	sayReady   messageKind = "ready"   // everything that can be served is served
	sayWake    messageKind = "wake"    // make watchers see a change
	sayRefresh messageKind = "refresh" // the kernel has forgotten a volume's directory: look at it
	sayEnded   messageKind = "ended"   // a volume's mount has been taken away
	sayPong    messageKind = "pong"    // after sayPing
	sayAhead   messageKind = "ahead"   // after sayUnmounting: no plain file is older than what a mount serves
	sayKill    messageKind = "kill"    // an administrator wants the monitor to stop
	sayFailed  messageKind = "failed"  // why the worker ends now by itself
)

// The volumes, in messages and as names of descriptors.
const (
	configVolume    = "config"
	serversetVolume = "serverset"
)

// hello is all that a worker needs to know.
type hello struct {
	Options monitorOptions `json:"options"`
	Log     logOptions     `json:"log"`
	// Holder is the process that keeps the mounts.
	Holder holderFacts `json:"holder"`
	// Volumes are what is to be served, by configVolume and serversetVolume.
	Volumes map[string]heldVolume `json:"volumes"`
	// KeptElsewhere says that the service manager keeps the mounts too: if the
	// holder dies its successor will have them, so they must stay.
	KeptElsewhere bool `json:"kept_elsewhere"`
}

// holderFacts are what a status shows of a worker's holder.
type holderFacts struct {
	PID       int       `json:"pid"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	Restarts  int64     `json:"restarts"`  // workers started in the place of another
	LastExit  string    `json:"last_exit"` // how the last one ended; "" if this is the first
}

// heldVolume is what a worker takes over of a volume.
type heldVolume struct {
	// Descriptors are the holding's, by the numbers that they have in the
	// worker.
	Descriptors []heldDescriptor `json:"descriptors"`
	// Shown says that readers see the mount already, and wait.
	Shown bool `json:"shown"`
	// WhyPlain is why there is no mount; "" if there is one.
	WhyPlain string `json:"why_plain,omitempty"`
}

type heldDescriptor struct {
	Name   string `json:"name"`
	Number int    `json:"number"`
}

// started says how the worker's death can be noticed.
type started struct {
	// Thread does nothing but be there. When a process is killed one of its
	// threads may be unable to end, and the process and its main thread count
	// as living until it can; this one ends at once.
	Thread int `json:"thread"`
}

// maxMessage is how long a message may be, in bytes. The socket's buffer holds
// many of them.
const maxMessage = 64 << 10

// controlTimeout bounds how long a message waits for a process that reads none.
const controlTimeout = time.Second

// control is one end of the socket. send may be called concurrently; receive is
// one goroutine's.
type control struct {
	conn net.Conn
	in   []byte // a message that is being received
}

// newControl takes the file over. It must be a socket of controlPair's.
func newControl(file *os.File) (*control, error) {
	conn, err := net.FileConn(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("opening the socket between holder and worker: %w", err)
	}
	return &control{conn: conn, in: make([]byte, maxMessage)}, nil
}

// controlPair returns the holder's end, and the one that a worker inherits.
func controlPair() (*control, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket between holder and worker: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	ours, err := newControl(os.NewFile(uintptr(fds[0]), "control"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// send sends a message. It waits at most controlTimeout for one who reads none.
func (c *control) send(m message) error {
	packet, err := json.Marshal(m)
	if err == nil {
		err = c.conn.SetWriteDeadline(time.Now().Add(controlTimeout))
	}
	if err == nil {
		_, err = c.conn.Write(packet)
	}
	if err != nil {
		return fmt.Errorf("sending the message %q: %w", m.Kind, err)
	}
	return nil
}

// receive waits for a message; one that can't be understood is left out. The
// error wraps io.EOF if the other side is gone.
func (c *control) receive() (message, error) {
	for {
		n, err := c.conn.Read(c.in)
		if err != nil {
			return message{}, fmt.Errorf("receiving a message: %w", err)
		}
		var m message
		if json.Unmarshal(c.in[:n], &m) == nil {
			return m, nil
		}
	}
}

func (c *control) close() error { return c.conn.Close() }
