package s3blob

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kingpinfs/kingpin/store"
)

// contentType is what Python's writers set, and so do we.
const contentType = "application/octet-stream"

// Head implements store.Blobs. S3 gives no reasons to a HEAD request: where
// the bucket is missing it answers as if the object were.
func (c *Client) Head(ctx context.Context, key string) (store.Object, error) {
	out, err := c.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &c.cfg.Bucket, Key: &key})
	if err != nil {
		return store.Object{}, c.fail(ctx, "looking up object", c.uri(key), err)
	}
	return store.Object{
		Key:      key,
		Size:     aws.ToInt64(out.ContentLength),
		Modified: aws.ToTime(out.LastModified),
		Metadata: out.Metadata,
	}, nil
}

// Put implements store.Blobs. After Unavailable the object may or may not have
// been written.
func (c *Client) Put(ctx context.Context, key string, content []byte, opts store.PutOptions) error {
	const op = "writing object"
	if err := checkMetadata(opts.Metadata); err != nil {
		return &store.Error{Op: op, Subject: c.uri(key), Kind: store.Invalid, Err: err}
	}
	in := &s3.PutObjectInput{
		Bucket:        &c.cfg.Bucket,
		Key:           &key,
		Body:          bytes.NewReader(content),
		ContentLength: aws.Int64(int64(len(content))),
		ContentType:   aws.String(contentType),
		Metadata:      opts.Metadata,
	}
	if opts.IfAbsent {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := c.s3.PutObject(ctx, in)
	if opts.IfAbsent && responseOf(err).status == http.StatusNotImplemented {
		c.cfg.Logger.Debug("the S3 server knows no conditional writes: writing unconditionally", "key", key)
		in.IfNoneMatch, in.Body = nil, bytes.NewReader(content)
		_, err = c.s3.PutObject(ctx, in)
	}
	if err != nil {
		return c.fail(ctx, op, c.uri(key), err)
	}
	return nil
}

// checkMetadata refuses what an HTTP header can't hold.
func checkMetadata(metadata map[string]string) error {
	for key, value := range metadata {
		if key == "" || strings.ToLower(key) != key || strings.ContainsFunc(key+value, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("the metadata %q=%q is not a lower-case key and printable ASCII", key, value)
		}
	}
	return nil
}

// List implements store.Blobs. It asks for a page at a time, as far as the
// caller reads.
func (c *Client) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		pages := s3.NewListObjectsV2Paginator(c.s3, &s3.ListObjectsV2Input{Bucket: &c.cfg.Bucket, Prefix: &prefix})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(store.Object{}, c.fail(ctx, "listing objects", c.uri(prefix), err))
				return
			}
			for _, entry := range page.Contents {
				object := store.Object{Key: aws.ToString(entry.Key), Size: aws.ToInt64(entry.Size), Modified: aws.ToTime(entry.LastModified)}
				if !yield(object, nil) {
					return
				}
			}
		}
	}
}

// CheckBucket asks the server whether the bucket can be used, by listing a key
// of it: a HEAD request would need the same permission and get no reasons.
// Errors: NotFound if the bucket doesn't exist, Denied if the server doesn't
// accept our credentials or they aren't allowed to list the bucket, Unavailable
// if it doesn't answer, or not like S3. Each says what to check.
func (c *Client) CheckBucket(ctx context.Context) error {
	_, err := c.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &c.cfg.Bucket, MaxKeys: aws.Int32(1)})
	if err != nil {
		return c.fail(ctx, "looking for bucket", "s3://"+c.cfg.Bucket, err)
	}
	return nil
}
