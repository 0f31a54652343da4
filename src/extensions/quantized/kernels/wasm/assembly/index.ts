// Unpacks quantized matrices and multiplies them with rows, in a separate module that only the quantized entry point
// loads. It shares the memory of tfjs's wasm backend.

export {multiplyRounded, roundRow} from './integers';
export {multiplyRow, multiplyRows, prepareRow} from './rows';
export {unpackColumns, unpackRows} from './unpack';
