package thriftpool

// Stats is what a pool is doing at one moment.
type Stats struct {
	Open    int            // connections that are open or being opened
	Idle    int            // connections that wait for a call
	Waiting int            // calls that wait for a connection
	Calls   int            // calls under way
	Retries float64        // how many retries and hedges the budget allows now
	Hosts   map[string]int // connections by host
}

// Stats returns what the pool is doing now.
func (p *Pool) Stats() Stats {
	s := Stats{Calls: int(p.calls.Load() &^ closing), Retries: p.budget.left()}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Open, s.Idle, s.Waiting = p.total, p.idle, p.queue.length
	s.Hosts = make(map[string]int, len(p.hosts))
	for _, h := range p.hosts {
		s.Hosts[h.endpoint] = h.total
	}
	return s
}
