package s3blob

import "testing"

func TestParseEndpoint(t *testing.T) {
	for _, test := range []struct {
		text string
		want endpoint
	}{
		{"", endpoint{aws: true}},
		{"minio.example.com", endpoint{url: "https://minio.example.com"}},
		{"minio.example.com:9000", endpoint{url: "https://minio.example.com:9000"}},
		{"localhost", endpoint{url: "https://localhost"}},
		{"[::1]:9000", endpoint{url: "https://[::1]:9000"}},
		{"http://127.0.0.1:9000/", endpoint{url: "http://127.0.0.1:9000"}},
		{"HTTPS://host/below/", endpoint{url: "https://host/below"}},
		{"s3.amazonaws.com", endpoint{url: "https://s3.amazonaws.com", aws: true}},
		{"s3.eu-west-1.amazonaws.com", endpoint{url: "https://s3.eu-west-1.amazonaws.com", aws: true, region: "eu-west-1"}},
		{"s3-us-west-2.amazonaws.com", endpoint{url: "https://s3-us-west-2.amazonaws.com", aws: true, region: "us-west-2"}},
		{"S3.US-GOV-WEST-1.AMAZONAWS.COM", endpoint{url: "https://S3.US-GOV-WEST-1.AMAZONAWS.COM", aws: true, region: "us-gov-west-1"}},
		{"s3.dualstack.ap-south-1.amazonaws.com", endpoint{url: "https://s3.dualstack.ap-south-1.amazonaws.com", aws: true, region: "ap-south-1"}},
		{"s3-fips.us-east-2.amazonaws.com", endpoint{url: "https://s3-fips.us-east-2.amazonaws.com", aws: true, region: "us-east-2"}},
		{"s3.cn-north-1.amazonaws.com.cn", endpoint{url: "https://s3.cn-north-1.amazonaws.com.cn", aws: true, region: "cn-north-1"}},
		{"bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com",
			endpoint{url: "https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com", aws: true, region: "us-east-1"}},
		{"s3.amazonaws.com.example.org", endpoint{url: "https://s3.amazonaws.com.example.org"}},
		{"nots3.amazonaws.com", endpoint{url: "https://nots3.amazonaws.com"}},
	} {
		got, err := parseEndpoint(test.text)
		if err != nil || got != test.want {
			t.Errorf("parseEndpoint(%q) is %+v, %v, want %+v", test.text, got, err, test.want)
		}
	}
}
