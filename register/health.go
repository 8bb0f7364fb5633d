package register

// Health is what the checks say of a service.
type Health string

// The healths. A service's is HealthUnknown until as many checks in a row have
// said the same as it takes.
const (
	HealthUnknown Health = "unknown"
	Healthy       Health = "healthy"
	Unhealthy     Health = "unhealthy"
)

// judge makes of the outcomes of checks what is believed of the service.
type judge struct {
	rise, fall int
	health     Health
	passed     bool // the last outcome
	streak     int  // how often in a row it came
}

func newJudge(rise, fall int) *judge { return &judge{rise: rise, fall: fall, health: HealthUnknown} }

// observe hears an outcome and says whether the health changed by it.
func (j *judge) observe(passed bool) bool {
	if passed != j.passed {
		j.passed, j.streak = passed, 0
	}
	j.streak++
	before := j.health
	switch {
	case passed && j.streak >= j.rise:
		j.health = Healthy
	case !passed && j.streak >= j.fall:
		j.health = Unhealthy
	}
	return j.health != before
}
