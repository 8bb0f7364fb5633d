package s3blob

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/httpbinding"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// emptySHA256 is the hash of a request without a body.
	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	// metadataPrefix begins the headers that hold an object's metadata.
	metadataPrefix = "X-Amz-Meta-"
	// maxErrorBody bounds what is read of an error's answer.
	maxErrorBody = 64 << 10
)

// getter sends GET requests for objects. Reading objects is what a monitor
// does most, at its start ten thousand times, and the SDK's GetObject takes as
// much time again as the request itself (BenchmarkGet). So the SDK is asked
// once where such requests go and how they are signed, and signs them; the
// rest is net/http. The other operations are the SDK's.
type getter struct {
	client  *http.Client
	creds   *credentialSource // nil: requests aren't signed
	base    url.URL           // of the bucket; Path ends in a slash
	service string            // what requests are signed for
	region  string
}

// newGetter learns from the SDK, by having it make a presigned URL, which
// contacts no server. It fails if the bucket's name is none.
func newGetter(ctx context.Context, sdk *s3.Client, client *http.Client, bucket string, creds *credentialSource) (*getter, error) {
	const key = "key"
	anyKeys := func(o *s3.Options) { o.Credentials = credentials.NewStaticCredentialsProvider("id", "secret", "") }
	signed, err := s3.NewPresignClient(sdk, s3.WithPresignClientFromClientOptions(anyKeys)).
		PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String(key)})
	if err != nil {
		return nil, rootOf(err)
	}
	u, err := url.Parse(signed.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the SDK's URL of the bucket: %w", err)
	}
	// id/date/region/service/aws4_request
	scope := strings.Split(u.Query().Get("X-Amz-Credential"), "/")
	if len(scope) != 5 || u.RawPath != "" {
		return nil, errors.New("a bucket of this kind is not supported")
	}
	return &getter{
		client:  client,
		creds:   creds,
		base:    url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(u.Path, key)},
		region:  scope[2],
		service: scope[3],
	}, nil
}

// get sends the request and returns an answer with status 200, whose body the
// caller must close, or an error such as the SDK's. It is sent again if all that
// was wrong with it was our clock.
func (g *getter) get(ctx context.Context, key string) (*http.Response, error) {
	resp, err := g.send(ctx, key)
	if err != nil && g.creds != nil && g.creds.followClock(responseOf(err)) {
		return g.send(ctx, key)
	}
	return resp, err
}

func (g *getter) send(ctx context.Context, key string) (*http.Response, error) {
	req, err := g.request(ctx, key)
	if err != nil {
		return nil, err
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		return nil, &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: resp}, Err: readError(resp)}
	}
	return resp, nil
}

// request makes the signed request.
func (g *getter) request(ctx context.Context, key string) (*http.Request, error) {
	u := g.base
	u.Path += key
	u.RawPath = g.base.Path + httpbinding.EscapePath(key, false)
	req := (&http.Request{
		Method:     http.MethodGet,
		URL:        &u,
		Host:       u.Host,
		Header:     make(http.Header, 8),
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}).WithContext(ctx)
	req.Header.Set("User-Agent", "kingpin")
	if g.creds == nil {
		return req, nil
	}
	keys, err := g.creds.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Amz-Content-Sha256", emptySHA256)
	if err := g.creds.SignHTTP(ctx, keys, req, emptySHA256, g.service, g.region, time.Now()); err != nil {
		return nil, fmt.Errorf("signing the request: %w", err)
	}
	return req, nil
}

// readError reads the error out of an answer.
func readError(resp *http.Response) error {
	var answer struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(body, &answer); err != nil || answer.Code == "" {
		return errors.New("the answer is no S3 error")
	}
	return &smithy.GenericAPIError{Code: answer.Code, Message: answer.Message}
}

// metadataOf returns the user metadata among an answer's headers, as the SDK
// does.
func metadataOf(header http.Header) map[string]string {
	var metadata map[string]string
	for name, values := range header {
		if key, ok := strings.CutPrefix(name, metadataPrefix); ok {
			if metadata == nil {
				metadata = map[string]string{}
			}
			metadata[strings.ToLower(key)] = values[0]
		}
	}
	return metadata
}
