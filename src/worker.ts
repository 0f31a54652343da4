// The entry point for training in a worker. It registers nothing, and loads errors alone.

export {type AnyWorker, connect, type Connected, type ConnectOptions} from './extensions/worker/connect';
export {type Calls, serve, type Served} from './extensions/worker/serve';
export {transfer} from './extensions/worker/wire';
