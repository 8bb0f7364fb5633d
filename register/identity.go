package register

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
)

// machineIDFile is systemd's name for the machine. It mustn't be told to others,
// so only what is derived from it is; see machine-id(5).
const machineIDFile = "/etc/machine-id"

// memberName is the name of an endpoint's znode in a serverset: 32 hexadecimal
// digits of a UUID, a hyphen and the endpoint. The UUID isn't random, but made of
// the machine's identity, so that a process recognizes what an earlier one on the
// same machine left: that has the same name. See docs/registering.md.
func memberName(parent, endpoint string) string {
	id, err := os.ReadFile(machineIDFile)
	if err != nil {
		id = nil // containers have none; then the host's name must do
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return nameFor(strings.TrimSpace(string(id)), host, parent, endpoint)
}

func nameFor(machine, host, parent, endpoint string) string {
	mac := hmac.New(sha256.New, []byte(machine))
	mac.Write([]byte(strings.Join([]string{"kingpin register", host, parent, endpoint}, "\n")))
	id := mac.Sum(nil)[:16]
	id[6] = id[6]&0x0f | 0x40 // version 4, as all members' names have it
	id[8] = id[8]&0x3f | 0x80 // and the variant of RFC 9562
	return hex.EncodeToString(id) + "-" + endpoint
}
