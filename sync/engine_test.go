package sync

import (
	"testing"
)

func TestColdStart(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "one")
		b.config("test.y", "2.0", "two")
		b.serverset("search.prod", hosts(1, 3)...)
		b.depend(boxDependency, configKey("test.x").name, configKey("test.y").name, serversetKey("search.prod").name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(configKey("test.x"), "one")
		b.wantContent(configKey("test.y"), "two")
		b.wantContent(serversetKey("search.prod"), lines(hosts(1, 3)))
		b.wantState(configKey("test.x"), Fresh, "")
		b.wantState(serversetKey("search.prod"), Fresh, "")

		b.config("test.x", "3.0", "three")
		b.serverset("search.prod", hosts(2, 4)...)
		b.settle()
		b.wantContent(configKey("test.x"), "three")
		b.wantContent(serversetKey("search.prod"), lines(hosts(2, 4)))

		b.independ(boxDependency, configKey("test.x").name)
		b.settle()
		b.wantNone(configKey("test.x"))
		b.wantLogged(0, "ERROR")
		b.wantLogged(0, "WARN")
	})
}
