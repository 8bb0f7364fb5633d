package integration

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// s3Server says where an S3 server is and how to be let in.
type s3Server struct {
	endpoint, bucket     string
	accessKey, secretKey string
}

// s3Kind makes a bucket of a test's own, on a server of some kind.
type s3Kind func(t testing.TB) s3Server

// gofakes3 is a bucket on the server inside this process, which takes any
// credentials.
func gofakes3(t testing.TB) s3Server {
	t.Helper()
	server, bucket := devtest.SharedS3(t)
	return s3Server{server.Endpoint(), bucket, "any-access-key", "any-secret-key"}
}

// versitygw is a bucket on a real server, which checks credentials.
func versitygw(t testing.TB) s3Server {
	t.Helper()
	server, bucket := devtest.SharedVersityGW(t)
	return s3Server{server.Endpoint(), bucket, server.AccessKey(), server.SecretKey()}
}

// ownS3 starts an S3 server that a test may hurt, and describes it.
func ownS3(t testing.TB) (*devcluster.S3, s3Server) {
	t.Helper()
	server := devtest.S3(t)
	return server, s3Server{server.Endpoint(), devtest.Bucket, "any-access-key", "any-secret-key"}
}

// eachS3 runs a test against both servers.
func eachS3(t *testing.T, test func(t *testing.T, kind s3Kind)) {
	t.Helper()
	t.Run("gofakes3", func(t *testing.T) { test(t, gofakes3) })
	t.Run("versitygw", func(t *testing.T) { test(t, versitygw) })
}

// rawS3 is a bucket by the plain SDK. Every method fails the test if the request
// fails.
type rawS3 struct {
	t      testing.TB
	client *s3.Client
	bucket string
}

func connectS3(t testing.TB, server s3Server) rawS3 {
	t.Helper()
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(server.endpoint),
		UsePathStyle: true,
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider(server.accessKey, server.secretKey, ""),
		// A connection kept would be a goroutine left.
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	return rawS3{t, client, server.bucket}
}

// object is what S3 holds under a key.
type object struct {
	body        string
	contentType string
	metadata    map[string]string
}

// put writes an object.
func (s rawS3) put(key, body, contentType string) {
	s.t.Helper()
	_, err := s.client.PutObject(context.Background(), &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, ContentType: &contentType, Body: bytes.NewReader([]byte(body)),
	})
	if err != nil {
		s.t.Fatalf("writing object %q: %v", key, err)
	}
}

// get reads an object.
func (s rawS3) get(key string) object {
	s.t.Helper()
	out, err := s.client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		s.t.Fatalf("reading object %q: %v", key, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		s.t.Fatalf("reading object %q: %v", key, err)
	}
	return object{string(body), aws.ToString(out.ContentType), out.Metadata}
}

// keys lists what begins with a prefix, sorted: at most a thousand.
func (s rawS3) keys(prefix string) []string {
	s.t.Helper()
	out, err := s.client.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix})
	if err != nil {
		s.t.Fatalf("listing objects %q: %v", prefix, err)
	}
	var keys []string
	for _, o := range out.Contents {
		keys = append(keys, aws.ToString(o.Key))
	}
	slices.Sort(keys)
	return keys
}
