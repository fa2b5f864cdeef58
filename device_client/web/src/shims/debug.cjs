/** In place of the package `debug`: the MQTT codec's own traces, which would hold topics, are not wanted. */
module.exports = () => () => undefined;
