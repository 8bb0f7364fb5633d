package serverset

import (
	"encoding/hex"

	"github.com/google/uuid"
)

// MemberName returns a new name for the znode of a member: 32 hexadecimal
// digits of a random UUID, a hyphen, and the endpoint. No two calls return the
// same. The endpoint must have passed CheckEndpoint.
func MemberName(endpoint string) string {
	id := uuid.New()
	return hex.EncodeToString(id[:]) + "-" + endpoint
}
