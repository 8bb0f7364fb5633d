package managed_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/kingpinfs/kingpin/managed"
)

// machineDir makes a directory as a monitor keeps it.
func machineDir(file, content string) string {
	dir, err := os.MkdirTemp("", "kingpin-example-")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600)
	}
	if err != nil {
		panic(err)
	}
	return dir
}

func ExampleList() {
	dir := machineDir("config.manageddata.spam.grey_list", `["10.0.0.7", "10.0.0.8"]`) // usually /var/config
	defer os.RemoveAll(dir)

	list := managed.NewList("spam", "grey_list", managed.Options{Dir: dir}, func(item string) error {
		_, err := netip.ParseAddr(item)
		return err
	})
	if err := list.Open(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	defer list.Close()
	fmt.Println(list.Contains("10.0.0.7"), list.Contains("10.0.0.9"))
	// Output: true false
}

func ExampleJSON() {
	dir := machineDir("config.manageddata.spam.rules", `{"limit": 10}`)
	defer os.RemoveAll(dir)

	type Rules struct{ Limit int }
	rules := managed.NewJSON[Rules]("spam", "rules", managed.Options{Dir: dir})
	if err := rules.Open(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	defer rules.Close()
	for r := range rules.Watch(context.Background()) {
		fmt.Println(r.Limit)
		break // else it waits for the next change
	}
	// Output: 10
}

func ExampleDecider() {
	dir := machineDir(managed.DeciderFile, `{"exp_one": 50}`)
	defer os.RemoveAll(dir)

	deciders := managed.NewDecider(managed.Options{Dir: dir})
	if err := deciders.Open(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	defer deciders.Close()
	fmt.Println(deciders.IsIDInExperiment(149, "exp_one"), deciders.IsIDInExperiment(150, "exp_one"))
	fmt.Println(deciders.IsHashedIDInExperiment("0", "exp_one"), deciders.IsHashedIDInExperiment("3", "exp_one"))
	// Output:
	// true false
	// false true
}
