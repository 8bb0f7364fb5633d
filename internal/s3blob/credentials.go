package s3blob

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// credentialSource gives out credentials, and signs with them. It reads its
// files again after the server has refused what they held, so that replaced
// keys take effect without a restart.
type credentialSource struct {
	load func(context.Context) (aws.Config, error)

	// signer keeps the keys that it derives by the access key's id alone, so
	// it is replaced with the credentials.
	signer atomic.Pointer[v4.Signer]
	// ahead is by how many nanoseconds the server's clock is ahead of ours,
	// since it has refused a signature for being too old or too new.
	ahead atomic.Int64

	mu      sync.Mutex // guards current
	current aws.CredentialsProvider
}

func newCredentialSource(load func(context.Context) (aws.Config, error), current aws.CredentialsProvider) *credentialSource {
	s := &credentialSource{load: load, current: current}
	s.signer.Store(newSigner())
	return s
}

func newSigner() *v4.Signer {
	// S3 is the one service whose paths aren't escaped twice for signing.
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
}

// credentialsError marks a failure to get credentials.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return "getting credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// Retrieve implements aws.CredentialsProvider.
func (s *credentialSource) Retrieve(ctx context.Context) (aws.Credentials, error) {
	provider, err := s.provider(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err}
	}
	keys, err := provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err}
	}
	return keys, nil
}

func (s *credentialSource) provider(ctx context.Context) (aws.CredentialsProvider, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		return s.current, nil
	}
	sdk, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	s.current = sdk.Credentials
	return s.current, nil
}

// SignHTTP implements s3.HTTPSignerV4. The time is that of the server, as far as
// it is known, and not the SDK's, which makes corrections of its own.
func (s *credentialSource) SignHTTP(
	ctx context.Context, keys aws.Credentials, r *http.Request, payloadHash, service, region string,
	_ time.Time, opts ...func(*v4.SignerOptions),
) error {
	at := time.Now().Add(time.Duration(s.ahead.Load()))
	return s.signer.Load().SignHTTP(ctx, keys, r, payloadHash, service, region, at, opts...)
}

// codeSkewed is what S3 says of a signature that isn't of its present.
const codeSkewed = "RequestTimeTooSkewed"

// followClock has signatures made by the server's clock from now on, if ours is
// why it refused one. A machine whose clock is wrong goes on being served.
func (s *credentialSource) followClock(r response) (followed bool) {
	if r.code != codeSkewed {
		return false
	}
	now, err := http.ParseTime(r.header.Get("Date"))
	if err != nil {
		return false
	}
	ahead := time.Until(now)
	return (ahead - time.Duration(s.ahead.Swap(int64(ahead)))).Abs() > time.Minute
}

// refused says that the server didn't accept the credentials.
func (s *credentialSource) refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
	s.signer.Store(newSigner())
}

// whoWeAre describes the credentials in use, without the secret.
func (c *Client) whoWeAre(ctx context.Context) string {
	if c.creds == nil {
		return "no credentials"
	}
	keys, err := c.creds.Retrieve(ctx)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("access key id %q from %s", keys.AccessKeyID, keys.Source)
}

// The names of Python's boto.
const (
	keyFileSection = "Credentials"
	keyFileID      = "aws_access_key_id"
	keyFileSecret  = "aws_secret_access_key"
)

// readKeyFile reads a boto file. Its errors hold no value of the file's.
func readKeyFile(path string) (aws.CredentialsProvider, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: give the path of a readable boto file with --aws-key-file", errors.Unwrap(err))
	}
	id, secret, err := parseKeyFile(string(content))
	if err != nil {
		return nil, err
	}
	keys := credentials.NewStaticCredentialsProvider(id, secret, "")
	keys.Value.Source = fmt.Sprintf("file %q", path)
	return keys, nil
}

// parseKeyFile reads the text of a boto file as Python's ConfigParser does:
// sections in brackets, "key = value" or "key: value" with keys in any case,
// comments that begin a line with # or ;, or follow a value after " ;". The
// last of several equal keys counts. What it can't read it skips.
func parseKeyFile(text string) (id, secret string, err error) {
	var section string
	var sections []string
	values := map[string]string{}
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			name, _, closed := strings.Cut(line[1:], "]")
			if section = name; closed && !slices.Contains(sections, name) {
				sections = append(sections, name)
			}
		case section == keyFileSection:
			if i := strings.IndexAny(line, "=:"); i >= 0 {
				value, _, _ := strings.Cut(line[i+1:], " ;")
				values[strings.ToLower(strings.TrimSpace(line[:i]))] = strings.TrimSpace(value)
			}
		}
	}
	if !slices.Contains(sections, keyFileSection) {
		return "", "", fmt.Errorf("it has no section [%s] (its sections: %q)", keyFileSection, sections)
	}
	for _, key := range []string{keyFileID, keyFileSecret} {
		if values[key] == "" {
			return "", "", fmt.Errorf("its section [%s] has no value for the key %s", keyFileSection, key)
		}
	}
	return values[keyFileID], values[keyFileSecret], nil
}
