package main

// shellAction is a line of the menu of `kingpin shell`.
type shellAction struct {
	group, title string
	command      string // two words
	inputs       []shellInput
	changes      bool // takes --comment
}

// shellInput is something that an action asks for.
type shellInput struct {
	question string
	names    fleetNames // lists what may be answered; nil if that isn't known
	optional bool
	many     bool // takes several, with spaces between them
}

// The groups of the menu.
const (
	shellConfigs  = "Configs"
	shellDeciders = "Deciders"
	shellLists    = "Lists and maps"
	shellMachines = "What machines get"
)

var (
	askConfig     = shellInput{question: "Which config?", names: configNames}
	askManaged    = shellInput{question: "Which one? DOMAIN.KEY", names: managedNames}
	askDecider    = shellInput{question: "Which decider?", names: deciderNames}
	askField      = shellInput{question: "Which field?"}
	askValues     = shellInput{question: "Which values? (with spaces between them)", many: true}
	askDependency = shellInput{question: "Which dependency? NAME.dep", names: dependencyNames}
	askMember     = shellInput{question: "Which member?", names: metaconfigNames}
)

var shellActions = []shellAction{
	{shellConfigs, "List configs", "config list", []shellInput{{question: "Which? (a pattern such as *spam*; empty for all)", optional: true}}, false},
	{shellConfigs, "Show a config", "config get", []shellInput{askConfig}, false},
	{shellConfigs, "Edit a config", "config edit", []shellInput{askConfig}, true},
	{shellConfigs, "Show the history of a config", "config history", []shellInput{askConfig}, false},
	{shellConfigs, "Show what changed last in a config", "config diff", []shellInput{askConfig}, false},
	{shellConfigs, "Publish an old version of a config again", "config rollback", []shellInput{askConfig, {question: "Which version?"}}, true},

	{shellDeciders, "List deciders", "decider list", nil, false},
	{shellDeciders, "Set a decider", "decider set", []shellInput{askDecider, {question: "To which value, from 0 to 100?"}}, true},
	{shellDeciders, "Take a decider away", "decider unset", []shellInput{askDecider}, true},

	{shellLists, "Show a list", "list show", []shellInput{askManaged}, false},
	{shellLists, "Add to a list", "list add", []shellInput{askManaged, askValues}, true},
	{shellLists, "Remove from a list", "list remove", []shellInput{askManaged, askValues}, true},
	{shellLists, "Show a map", "map show", []shellInput{askManaged}, false},
	{shellLists, "Set a field of a map", "map set", []shellInput{askManaged, askField, {question: "To which value?"}}, true},
	{shellLists, "Take a field out of a map", "map unset", []shellInput{askManaged, askField}, true},
	{shellLists, "Show a mapped list", "mapped-list show", []shellInput{askManaged}, false},
	{shellLists, "Add to a mapped list", "mapped-list add", []shellInput{askManaged, askField, askValues}, true},
	{shellLists, "Remove from a mapped list", "mapped-list remove", []shellInput{askManaged, askField, askValues}, true},

	{shellMachines, "Create a config", "metaconfig create-config", []shellInput{{question: "In which domain?"}, {question: "By which key?"}}, false},
	{shellMachines, "Create a serverset", "metaconfig create-serverset", []shellInput{{question: "Of which service?"}, {question: "In which environment?"}}, false},
	{shellMachines, "List dependencies", "dependency list", nil, false},
	{shellMachines, "Show what a dependency holds", "dependency show", []shellInput{askDependency}, false},
	{shellMachines, "Create a dependency", "dependency create", []shellInput{{question: "By which name? NAME.dep"}}, false},
	{shellMachines, "Give a dependency a member", "dependency add", []shellInput{askDependency, askMember}, false},
	{shellMachines, "Take a member out of a dependency", "dependency remove", []shellInput{askDependency, askMember}, false},
}
