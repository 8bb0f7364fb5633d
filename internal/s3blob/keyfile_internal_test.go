package s3blob

import (
	"strings"
	"testing"
)

func TestParseKeyFile(t *testing.T) {
	for _, test := range []struct {
		name, text string
		id, secret string // "" for an error
		problem    string
	}{
		{
			name: "as boto's manual has it",
			text: "[Credentials]\naws_access_key_id = AKIA\naws_secret_access_key = s3/cr+et\n",
			id:   "AKIA", secret: "s3/cr+et",
		},
		{
			name: "CRLF, a byte order mark, no last newline",
			text: "\ufeff[Credentials]\r\naws_access_key_id = AKIA\r\naws_secret_access_key = s3/cr+et",
			id:   "AKIA", secret: "s3/cr+et",
		},
		{
			name: "comments, colons, other sections, keys in capitals",
			text: "# a file\n; of ours\n[Boto]\ndebug = 0\naws_access_key_id = WRONG\n\n[Credentials]\n# mine\n" +
				"AWS_Access_Key_ID: AKIA ; inline\n\taws_secret_access_key=s3=cr:et#;x\n[DynamoDB]\naws_secret_access_key = wrong\n",
			id: "AKIA", secret: "s3=cr:et#;x",
		},
		{
			name: "the last of several counts",
			text: "[Credentials]\naws_access_key_id = OLD\naws_secret_access_key = s3/cr+et\n[Other]\n[Credentials]\naws_access_key_id = AKIA\n",
			id:   "AKIA", secret: "s3/cr+et",
		},
		{
			name: "what Python would interpolate",
			text: "[Credentials]\naws_access_key_id = AKIA\naws_secret_access_key = 100%(x)s\n",
			id:   "AKIA", secret: "100%(x)s",
		},
		{name: "empty", text: "", problem: "no section [Credentials]"},
		{name: "no section", text: "aws_access_key_id = AKIA\naws_secret_access_key = s3/cr+et\n", problem: "no section [Credentials]"},
		{
			name: "the SDK's file", text: "[default]\naws_access_key_id = AKIA\naws_secret_access_key = s3/cr+et\n",
			problem: `no section [Credentials] (its sections: ["default"])`,
		},
		{name: "section in small letters", text: "[credentials]\naws_access_key_id = AKIA\n", problem: `(its sections: ["credentials"])`},
		{name: "unclosed section", text: "[Credentials\naws_access_key_id = AKIA\n", problem: "no section [Credentials]"},
		{name: "no key id", text: "[Credentials]\naws_secret_access_key = s3/cr+et\n", problem: "key aws_access_key_id"},
		{name: "no secret", text: "[Credentials]\naws_access_key_id = AKIA\n", problem: "key aws_secret_access_key"},
		{name: "empty secret", text: "[Credentials]\naws_access_key_id = AKIA\naws_secret_access_key =\n", problem: "key aws_secret_access_key"},
		{name: "secret commented out", text: "[Credentials]\naws_access_key_id = AKIA\n#aws_secret_access_key = s3/cr+et\n", problem: "key aws_secret_access_key"},
		{name: "no delimiter", text: "[Credentials]\naws_access_key_id = AKIA\naws_secret_access_key s3/cr+et\n", problem: "key aws_secret_access_key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			id, secret, err := parseKeyFile(test.text)
			if id != test.id || secret != test.secret || (err != nil) != (test.problem != "") {
				t.Errorf("parseKeyFile returned %q, %q, %v, want %q, %q", id, secret, err, test.id, test.secret)
			}
			if err == nil {
				return
			}
			if !strings.Contains(err.Error(), test.problem) {
				t.Errorf("the error %q doesn't say %q", err, test.problem)
			}
			if strings.Contains(err.Error(), "s3/cr+et") {
				t.Errorf("the error %q holds the secret", err)
			}
		})
	}
}

func FuzzParseKeyFile(f *testing.F) {
	f.Add("[Credentials]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n")
	f.Add("\ufeff[Boto]\r\n;x\r\n[Credentials]\r\nAWS_ACCESS_KEY_ID:a\r\naws_secret_access_key=b ; c\r\n")
	f.Add("[Credentials\n=\n[]\n]\n[Credentials]]\n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		id, secret, err := parseKeyFile(text)
		if err != nil {
			if id != "" || secret != "" {
				t.Errorf("it returned %q and %q beside the error %q", id, secret, err)
			}
			return
		}
		for _, value := range []string{id, secret} {
			if value == "" || strings.TrimSpace(value) != value || strings.Contains(value, "\n") || !strings.Contains(text, value) {
				t.Errorf("it returned the value %q", value)
			}
		}
	})
}
