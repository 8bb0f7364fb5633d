package s3blob

import (
	"context"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// GetBySDK reads an object by the SDK's own GetObject, for comparison.
func (c *Client) GetBySDK(ctx context.Context, key string) (int, error) {
	out, err := c.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &c.cfg.Bucket, Key: &key})
	if err != nil {
		return 0, err
	}
	defer func() { _ = out.Body.Close() }()
	content, err := io.ReadAll(out.Body)
	return len(content), err
}
