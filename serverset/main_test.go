package serverset

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
