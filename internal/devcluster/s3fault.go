package devcluster

import (
	"encoding/xml"
	"io"
	"net/http"
	"time"
)

// Fault is what befalls a request to an S3 server of devcluster. The zero
// value is no fault.
type Fault struct {
	// Delay holds the request back before anything else happens.
	Delay time.Duration
	// Hang takes the request and never answers: it ends when the client gives
	// up or the server is stopped.
	Hang bool
	// Status answers with this HTTP status, and Code as S3's name for the
	// error ("SlowDown"), instead of handling the request. Without a Code the
	// answer is a web page, as of a proxy.
	Status int
	Code   string
	// Cut closes the connection after the first BodyBytes of the answer's
	// body; Stall keeps it open and sends no more.
	Cut, Stall bool
	BodyBytes  int
	// Handle, if not nil, handles the request in the server's place, which is
	// handed to it.
	Handle func(w http.ResponseWriter, r *http.Request, server http.Handler)
}

// SetFault makes the server ask for every request whether a fault is to befall
// it: nil for none. choose is called concurrently. A nil choose ends faults;
// requests that hang already go on hanging.
func (s *S3) SetFault(choose func(*http.Request) *Fault) {
	if choose == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&choose)
}

// serve handles a request of server's with the fault.
func (f *Fault) serve(w http.ResponseWriter, r *http.Request, server http.Handler, stopping <-chan struct{}) {
	if f.Delay > 0 {
		delay := time.NewTimer(f.Delay)
		defer delay.Stop()
		select {
		case <-delay.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		case <-stopping:
			panic(http.ErrAbortHandler)
		}
	}
	switch {
	case f.Hang:
		// Until the body is read, net/http doesn't notice that the client is gone.
		_, _ = io.Copy(io.Discard, r.Body)
		hold(r, stopping)
	case f.Status != 0:
		f.answer(w, r)
	case f.Handle != nil:
		f.Handle(w, r, server)
	case f.Cut || f.Stall:
		end := func() {
			if f.Stall {
				hold(r, stopping)
			}
		}
		server.ServeHTTP(&cutWriter{ResponseWriter: w, left: f.BodyBytes, end: end}, r)
	default:
		server.ServeHTTP(w, r)
	}
}

// hold waits until the client gives up or the server is stopped.
func hold(r *http.Request, stopping <-chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-stopping:
	}
	// Close the connection without an answer.
	panic(http.ErrAbortHandler)
}

// answer writes an error as S3 does.
func (f *Fault) answer(w http.ResponseWriter, r *http.Request) {
	if f.Code == "" {
		http.Error(w, "<html><body><h1>"+http.StatusText(f.Status)+"</h1></body></html>", f.Status)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(f.Status)
	if r.Method == http.MethodHead {
		return
	}
	// Who doesn't read the answer doesn't want it.
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: f.Code, Message: "A fault was asked for."})
}

// cutWriter writes the first bytes of a body.
type cutWriter struct {
	http.ResponseWriter

	left int
	end  func() // what to do after them, before the connection is closed
}

// Write implements io.Writer. It doesn't return from the write that goes
// beyond the cut.
func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	c.end()
	panic(http.ErrAbortHandler)
}
