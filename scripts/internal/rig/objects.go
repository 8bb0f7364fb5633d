package rig

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

const (
	roleS3 = "s3"
	bucket = "kingpin-bench"
)

// serveS3 is a role: an S3 server, which prints its endpoint.
func serveS3(ctx context.Context, _ []string, out io.Writer) error {
	server, err := devcluster.StartS3(ctx, devcluster.S3Config{Buckets: []string{bucket}})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, server.Endpoint()); err != nil {
		return err
	}
	<-ctx.Done()
	return server.Stop()
}

// objects reads and writes the bucket by plain HTTP. The server takes requests
// without credentials, from the monitor too, so that neither side signs.
type objects struct {
	base string // the bucket's URL
	http *http.Client
}

// newObjects keeps as many connections as there are requests at once.
func newObjects(endpoint string, atATime int) *objects {
	return &objects{
		base: endpoint + "/" + bucket + "/",
		http: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: atATime, DisableCompression: true},
			Timeout:   time.Minute,
		},
	}
}

func (o *objects) put(ctx context.Context, key, body string) error {
	_, err := o.do(ctx, http.MethodPut, key, strings.NewReader(body))
	return err
}

func (o *objects) get(ctx context.Context, key string) ([]byte, error) {
	return o.do(ctx, http.MethodGet, key, http.NoBody)
}

func (o *objects) do(ctx context.Context, method, key string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, o.base+key, body)
	if err != nil {
		return nil, err
	}
	response, err := o.http.Do(request)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(response.Body)
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, content)
	}
	if err != nil {
		return nil, fmt.Errorf("%s of object %q: %w", method, key, err)
	}
	return content, nil
}

func (o *objects) close() { o.http.CloseIdleConnections() }
