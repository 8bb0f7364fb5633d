package s3blob

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// endpoint is what a configured endpoint means. The zero value is AWS.
type endpoint struct {
	url    string // without a trailing slash; "" for what the SDK takes
	aws    bool   // it belongs to AWS
	region string // the region in the name of an AWS endpoint, or ""
}

// awsHost matches the names that AWS gives its S3 endpoints, such as
// s3.eu-west-1.amazonaws.com and the older s3-eu-west-1.amazonaws.com.
var awsHost = regexp.MustCompile(`(?i)^(?:.*\.)?s3(?:[.-](?:(?:fips|dualstack)[.-])*([a-z]{2}(?:-[a-z]+)+-[0-9]+))?(?:\.vpce)?\.amazonaws\.com(?:\.cn)?$`)

// parseEndpoint reads what a user wrote.
func parseEndpoint(text string) (endpoint, error) {
	if text == "" {
		return endpoint{aws: true}, nil
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return endpoint{}, fmt.Errorf("it is neither a host nor a URL: %w", errors.Unwrap(err))
	case u.Scheme != "http" && u.Scheme != "https":
		return endpoint{}, fmt.Errorf("the scheme %q is unknown: write https://host, http://host or just the host", u.Scheme)
	case u.Hostname() == "":
		return endpoint{}, errors.New("it names no host: write https://host, http://host or just the host")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return endpoint{}, errors.New("it may hold a host, a port and a path, nothing else; credentials belong into a key file")
	}
	e := endpoint{url: strings.TrimRight(u.String(), "/")}
	if match := awsHost.FindStringSubmatch(u.Hostname()); match != nil {
		e.aws, e.region = true, strings.ToLower(match[1])
	}
	return e, nil
}

// redacted returns the endpoint without the password that somebody may have
// put in.
func redacted(text string) string {
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return "…" + text[i:]
	}
	return text
}
