package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kingpinfs/kingpin/store"
)

// adminOptions say where the local monitor answers.
type adminOptions struct {
	addr string
}

// defaultAdminAddr is where a monitor answers unless told otherwise.
const defaultAdminAddr = "127.0.0.1:9898"

func (o *adminOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.addr, "admin-addr", defaultAdminAddr, "the `HOST:PORT` where the monitor answers")
	bindEnvironment(flags, "admin-addr")
}

// get asks the monitor and decodes its JSON answer into value. An error is
// Unavailable.
func (o *adminOptions) get(ctx context.Context, path string, value any) error {
	body, err := o.request(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, value); err != nil {
		return o.fail(store.Unavailable, fmt.Errorf("GET %s: %w", path, err))
	}
	return nil
}

// post has the monitor do something. An error is Unavailable, or Conflict if
// the monitor refuses.
func (o *adminOptions) post(ctx context.Context, path string) error {
	_, err := o.request(ctx, http.MethodPost, path)
	return err
}

func (o *adminOptions) request(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+o.addr+path, nil)
	if err != nil {
		return nil, o.fail(store.Unavailable, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		// The URL is what o.fail says already.
		return nil, o.fail(store.Unavailable, fmt.Errorf("%w: is `kingpin monitor` running, and is this its --admin-addr?", errors.Unwrap(err)))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, o.fail(store.Unavailable, err)
	case response.StatusCode == http.StatusConflict:
		return nil, o.fail(store.Conflict, errors.New(strings.TrimSpace(string(body))))
	case response.StatusCode != http.StatusOK:
		return nil, o.fail(store.Unavailable, fmt.Errorf("%s %s: %s", method, path, response.Status))
	}
	return body, nil
}

func (o *adminOptions) fail(kind store.Kind, err error) error {
	return &store.Error{Op: "asking the monitor at", Subject: o.addr, Kind: kind, Err: err}
}
