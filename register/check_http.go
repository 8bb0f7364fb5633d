package register

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswer bounds what is read of an answer's body, which doesn't count.
const maxAnswer = 64 << 10

// HTTP makes a check that sends GET to a URL, such as "http:///health", and wants
// a status from 200 to 299; redirects aren't followed. Where the URL has no host
// or no port, those of the registered endpoint are taken. Errors are Invalid.
func HTTP(address string) (Check, error) { return ParseCheck(address) }

type httpCheck struct {
	text   string
	url    *url.URL
	client *http.Client
}

func parseHTTP(text string) (Check, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return nil, errors.Unwrap(err) // without the text, which the caller has
	}
	if !strings.HasPrefix(text, "http://") || parsed.User != nil || parsed.Fragment != "" {
		return nil, errors.New("want http://HOST:PORT/PATH, of which HOST and PORT may be left out")
	}
	return httpCheck{text, parsed, &http.Client{
		// Each check finds out whether the service accepts connections, too.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (c httpCheck) String() string { return c.text }

func (c httpCheck) Check(ctx context.Context, endpoint string) error {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return err
	}
	if c.url.Hostname() != "" {
		host = c.url.Hostname()
	}
	if c.url.Port() != "" {
		port = c.url.Port()
	}
	target := *c.url
	target.Host = net.JoinHostPort(host, port)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kingpin-register")
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("GET %s: %s", target.String(), response.Status)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)); err != nil {
		return fmt.Errorf("GET %s: reading the answer: %w", target.String(), err)
	}
	return nil
}
