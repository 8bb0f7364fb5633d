package s3blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/kingpinfs/kingpin/store"
)

// fault is the cause of a store.Error: a line for people, and the SDK's error
// for errors.As.
type fault struct {
	text string
	err  error
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.err }

// response is what an error tells of the server's answer.
type response struct {
	status  int    // 0: there was none
	code    string // S3's name for the error, such as "NoSuchKey"; "" if the answer has none
	message string // S3's words
	header  http.Header
	head    bool // it answers a HEAD request, and so has no body to hold code and message
}

func responseOf(err error) response {
	answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || answer.Response == nil || answer.Response.Response == nil {
		return response{}
	}
	r := response{status: answer.HTTPStatusCode(), header: answer.Response.Header}
	if req := answer.Response.Request; req != nil {
		r.head = req.Method == http.MethodHead
	}
	// Where the answer has no code the SDK makes one of the status.
	made := strings.ReplaceAll(http.StatusText(r.status), " ", "")
	if api, ok := errors.AsType[smithy.APIError](err); ok && !r.head && api.ErrorCode() != made {
		r.code, r.message = api.ErrorCode(), api.ErrorMessage()
	}
	return r
}

// describe renders the answer: "AccessDenied (403): Access Denied".
func (r response) describe() string {
	switch {
	case r.code == "":
		return fmt.Sprintf("the server answered %d %s", r.status, http.StatusText(r.status))
	case r.message == "" || r.message == r.code:
		return fmt.Sprintf("%s (%d)", r.code, r.status)
	default:
		return fmt.Sprintf("%s (%d): %s", r.code, r.status, strings.TrimRight(r.message, ". \n"))
	}
}

// codeUnknownUser is versitygw's name for InvalidAccessKeyId.
const codeUnknownUser = "XAdminUserNotFound"

// kinds are S3's error codes whose HTTP status doesn't tell the kind.
var kinds = map[string]store.Kind{
	"NoSuchBucket":                 store.NotFound,
	"NoSuchKey":                    store.NotFound,
	codeUnknownUser:                store.Denied,
	"AuthorizationHeaderMalformed": store.Denied,
	"ExpiredToken":                 store.Denied,
	"InvalidToken":                 store.Denied,
	"TokenRefreshRequired":         store.Denied,
	"EntityTooLarge":               store.TooLarge,
	"InvalidArgument":              store.Invalid,
	"InvalidBucketName":            store.Invalid,
	"InvalidURI":                   store.Invalid,
	"KeyTooLongError":              store.Invalid,
	"MetadataTooLarge":             store.Invalid,
	// Another conditional write of the same key is under way.
	"ConditionalRequestConflict": store.Exists,
	// A server that keeps objects as files can't have one beneath another.
	"ExistingObjectIsDirectory": store.Invalid,
	"ObjectParentIsFile":        store.Invalid,
}

// refusals are the codes that say that the credentials are at fault, not what
// they were used for.
var refusals = map[string]bool{
	"ExpiredToken":          true,
	"InvalidAccessKeyId":    true,
	"InvalidToken":          true,
	"SignatureDoesNotMatch": true,
	"TokenRefreshRequired":  true,
	codeUnknownUser:         true,
}

func (r response) kind() store.Kind {
	if kind, ok := kinds[r.code]; ok {
		return kind
	}
	switch r.status {
	case http.StatusNotFound:
		if r.head {
			return store.NotFound
		}
		return store.Unavailable // that is not how S3 says it
	case http.StatusUnauthorized, http.StatusForbidden,
		// The bucket is in another region, or at another endpoint.
		http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return store.Denied
	case http.StatusPreconditionFailed:
		return store.Exists
	default:
		return store.Unavailable
	}
}

// fail makes a store.Error of an error of the SDK's. subject is s3://bucket/key.
func (c *Client) fail(ctx context.Context, op, subject string, err error) error {
	kind, text := c.explain(ctx, err)
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	e := &store.Error{Op: op, Subject: subject, Kind: kind}
	if text != "" {
		e.Err = &fault{text: text, err: err}
	}
	return e
}

// explain says what kind of failure err is and what to do about it; nothing if
// the kind says it all.
func (c *Client) explain(ctx context.Context, err error) (store.Kind, string) {
	if ctx.Err() != nil {
		return store.Unavailable, fmt.Sprintf("gave up waiting for the server at %s: %v", c.place(), context.Cause(ctx))
	}
	if _, ok := errors.AsType[*credentialsError](err); ok {
		return store.Denied, rootOf(err).Error()
	}
	r := responseOf(err)
	if r.status == 0 || r.status == http.StatusOK {
		return store.Unavailable, c.explainSilence(err)
	}
	if refusals[r.code] && c.creds != nil {
		defer c.creds.refused()
	}
	if c.creds != nil {
		c.creds.followClock(r)
	}
	kind := r.kind()
	switch {
	case r.code == "NoSuchBucket":
		return kind, fmt.Sprintf("there is no bucket %q at %s: name another with --s3-bucket, or create it", c.cfg.Bucket, c.place())
	case kind == store.NotFound:
		return kind, ""
	case kind == store.Denied:
		return kind, r.describe() + ": " + c.adviseDenied(ctx, r)
	case r.status == http.StatusNotFound:
		return kind, fmt.Sprintf("%s: is %s an S3 server? Give another with --s3-endpoint", r.describe(), c.place())
	default:
		return kind, r.describe()
	}
}

// adviseDenied says what to check after the server has refused a request.
func (c *Client) adviseDenied(ctx context.Context, r response) string {
	switch r.code {
	case "InvalidAccessKeyId", codeUnknownUser:
		return fmt.Sprintf("the server doesn't know us (%s): check the key id, and that it belongs to %s", c.whoWeAre(ctx), c.place())
	case "SignatureDoesNotMatch":
		return fmt.Sprintf("the secret key is not the one of %s: check it", c.whoWeAre(ctx))
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired":
		return fmt.Sprintf("renew the session (%s)", c.whoWeAre(ctx))
	case codeSkewed:
		return "check this machine's clock"
	case "AuthorizationHeaderMalformed":
		return fmt.Sprintf("the request was signed for the region %q: set AWS_REGION to the bucket's", c.region)
	}
	if region := r.header.Get("X-Amz-Bucket-Region"); region != "" && region != c.region {
		return fmt.Sprintf("the bucket %q is in the region %q, the request was made for %q: set AWS_REGION", c.cfg.Bucket, region, c.region)
	}
	if r.status < http.StatusBadRequest {
		return fmt.Sprintf("%s sends requests for the bucket %q elsewhere (%q): give the right --s3-endpoint, or set AWS_REGION",
			c.place(), c.cfg.Bucket, r.header.Get("Location"))
	}
	if c.creds == nil {
		return "no credentials were found, and none were sent: give --aws-key-file, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	}
	return fmt.Sprintf("check what %s may do in the bucket %q (S3 answers the same where there is no such key, unless s3:ListBucket is allowed)",
		c.whoWeAre(ctx), c.cfg.Bucket)
}

// explainSilence describes a request that got no answer, or half of one.
func (c *Client) explainSilence(err error) string {
	if f, ok := errors.AsType[*fault](err); ok {
		return f.text
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return e.Error()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("the server at %s was silent for %v", c.place(), c.cfg.IdleTimeout)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("the server at %s doesn't speak TLS: write the endpoint as http://…", c.place())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("the server at %s closed the connection before it had answered", c.place())
	default:
		return rootOf(err).Error()
	}
}

// rootOf strips what the SDK and net/http say around an error.
func rootOf(err error) error {
	if e, ok := errors.AsType[*credentialsError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*smithy.OperationError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		err = e.Err
	}
	return err
}

// place names the server.
func (c *Client) place() string {
	return firstNonEmpty(c.server.url, "AWS ("+c.region+")")
}
