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

// parseEndpoint reads what a user wrote. Its errors hold no password that
// somebody may have put in.
func parseEndpoint(text string) (endpoint, error) {
	if text == "" {
		return endpoint{aws: true}, nil
	}
	if strings.Contains(text, "@") {
		return endpoint{}, errors.New("the endpoint holds credentials (an @): they belong into a key file")
	}
	full := text
	if !strings.Contains(text, "://") {
		full = "https://" + text
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		return endpoint{}, fmt.Errorf("the endpoint %q is neither a host nor a URL: %w", text, errors.Unwrap(err))
	case u.Scheme != "http" && u.Scheme != "https":
		return endpoint{}, fmt.Errorf("the endpoint %q has an unknown scheme: write https://host, http://host or just the host", text)
	case u.Hostname() == "":
		return endpoint{}, fmt.Errorf("the endpoint %q names no host: write https://host, http://host or just the host", text)
	case u.RawQuery != "", u.Fragment != "":
		return endpoint{}, fmt.Errorf("the endpoint %q may hold a host, a port and a path, nothing else", text)
	}
	e := endpoint{url: strings.TrimRight(u.String(), "/")}
	if match := awsHost.FindStringSubmatch(u.Hostname()); match != nil {
		e.aws, e.region = true, strings.ToLower(match[1])
	}
	return e, nil
}
