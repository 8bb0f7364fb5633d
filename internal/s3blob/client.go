// Package s3blob keeps objects in one S3 bucket: store.Blobs over the AWS SDK.
// It is the only package that speaks to S3.
package s3blob

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/kingpinfs/kingpin/store"
)

// The limits that a Config leaves open.
const (
	defaultIdleTimeout = 30 * time.Second
	defaultMaxConns    = 64
	defaultRegion      = "us-east-1"
)

// Config says which bucket to use, where it is, and who we are.
type Config struct {
	// Bucket is the bucket's name.
	Bucket string
	// Endpoint is the server's URL; a bare host (and port) means https. It is
	// addressed path-style: https://endpoint/bucket/key. Empty: AWS, or what
	// the SDK's own settings say (AWS_ENDPOINT_URL_S3).
	Endpoint string
	// Region is what requests are signed for. Empty: what the SDK's own
	// settings say, or the region that the name of an AWS endpoint holds, or
	// us-east-1.
	Region string
	// KeyFile is a boto file: a section [Credentials] with the keys
	// aws_access_key_id and aws_secret_access_key. Empty: the SDK's default
	// chain (environment, ~/.aws, the machine's role). If that finds nothing,
	// a server that isn't AWS's is asked without credentials.
	KeyFile string
	// IdleTimeout is how long a request may wait for a server that sends and
	// takes not a single byte, once it has accepted the connection (within 5 s).
	// 0: 30 s. It is no limit on a request that makes progress: that is the
	// context's matter.
	IdleTimeout time.Duration
	// MaxConns is how many connections to the server there may be; further
	// requests wait for one. 0: 64, enough for a monitor that fetches 32
	// objects at once while somebody reads and writes through it.
	MaxConns int
	// Logger hears of what is decided here. nil: nobody does.
	Logger *slog.Logger
}

// Client reads and writes the objects of one bucket. It implements
// store.Blobs. Nothing is tried twice, but for a Get that Get says, and one that
// failed because of this machine's clock: callers know best when to come back. Keys are used as they are. A Client is
// safe for concurrent use.
type Client struct {
	cfg    Config
	s3     *s3.Client
	get    *getter
	conns  *http.Transport
	creds  *credentialSource // nil: requests are sent without credentials
	server endpoint
	region string
}

var _ store.Blobs = (*Client)(nil)

// New reads the configuration and credentials that cfg names, and those of the
// AWS SDK, from environment and files. It contacts no server. Its errors are
// Invalid and say what to change. The caller must call Close.
func New(ctx context.Context, cfg Config) (*Client, error) {
	c, err := newClient(ctx, cfg.withDefaults())
	if err != nil {
		return nil, &store.Error{Op: "configuring access to", Subject: "s3://" + cfg.Bucket, Kind: store.Invalid, Err: err}
	}
	return c, nil
}

func (cfg Config) withDefaults() Config {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = defaultIdleTimeout
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = defaultMaxConns
	}
	return cfg
}

// newClient is New without defaults and without the frame of its errors.
func newClient(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.Bucket == "" {
		return nil, errors.New("no bucket is named: give --s3-bucket")
	}
	load := func(ctx context.Context) (aws.Config, error) { return loadSDK(ctx, cfg) }
	sdk, err := load(ctx)
	if err != nil {
		return nil, err
	}
	server, err := parseEndpoint(firstNonEmpty(cfg.Endpoint, aws.ToString(s3.NewFromConfig(sdk).Options().BaseEndpoint)))
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, server: server, region: firstNonEmpty(sdk.Region, server.region, defaultRegion)}
	if !server.aws && aws.IsCredentialsProvider(sdk.Credentials, (*ec2rolecreds.Provider)(nil)) {
		// What is left of the chain is to ask the machine's role of a service
		// that only EC2 has, and that elsewhere takes seconds not to answer.
		cfg.Logger.Debug("no S3 credentials found: requests are sent without", "endpoint", server.url)
	} else {
		c.creds = newCredentialSource(load, sdk.Credentials)
	}
	c.conns = transport(sdk, cfg)
	client := &http.Client{
		Transport: c.conns,
		// A signature holds for one host. The error says where it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.s3 = c.newS3(sdk, client)
	c.get, err = newGetter(ctx, c.s3, client, cfg.Bucket, c.creds)
	return c, err
}

// loadSDK reads what the SDK reads, and in place of its credentials the key
// file if there is one. The file is read here and now.
func loadSDK(ctx context.Context, cfg Config) (aws.Config, error) {
	options := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithRegion(cfg.Region),
		// Else it logs to stderr.
		awsconfig.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) {
			cfg.Logger.Debug(fmt.Sprintf(format, v...), "from", "AWS SDK")
		})),
		// The SDK adds the certificates of AWS_CA_BUNDLE to a client of this
		// type only.
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient()),
	}
	if cfg.KeyFile != "" {
		keys, err := readKeyFile(cfg.KeyFile)
		if err != nil {
			return aws.Config{}, fmt.Errorf("reading credentials from %q: %w", cfg.KeyFile, err)
		}
		options = append(options, awsconfig.WithCredentialsProvider(keys))
	}
	sdk, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("reading the AWS SDK's settings: %w: check ~/.aws and the AWS_ environment variables", err)
	}
	return sdk, nil
}

// newS3 returns the SDK's client of the server.
func (c *Client) newS3(sdk aws.Config, client *http.Client) *s3.Client {
	return s3.NewFromConfig(sdk, func(o *s3.Options) {
		o.Region = c.region
		if c.server.url != "" {
			o.BaseEndpoint, o.UsePathStyle = aws.String(c.server.url), true
		}
		o.HTTPClient = client
		o.Credentials = aws.AnonymousCredentials{}
		if c.creds != nil {
			o.Credentials, o.HTTPSignerV4 = c.creds, c.creds
		}
		o.Retryer = aws.NopRetryer{}
		// Checksum trailers are unknown to many servers that speak S3.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		// So is "Expect: 100-continue", and contents are small.
		o.ContinueHeaderThresholdBytes = -1
		o.DisableS3ExpressSessionAuth = aws.Bool(true)
	})
}

// Close closes the connections that no request uses.
func (c *Client) Close() { c.conns.CloseIdleConnections() }

// uri names an object, or with an empty key the bucket, in errors.
func (c *Client) uri(key string) string { return "s3://" + c.cfg.Bucket + "/" + key }

func firstNonEmpty(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
