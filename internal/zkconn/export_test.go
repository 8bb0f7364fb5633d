package zkconn

// ParseHosts is parseHosts, for the fuzz test.
var ParseHosts = parseHosts
