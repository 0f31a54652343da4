// Unpacks quantized matrices and multiplies them with a row, in a separate module that only the quantized entry point
// loads. It shares the memory of tfjs's wasm backend.

export {multiplyRounded, roundRow} from './integers';
export {multiplyRow, prepareRow} from './rows';
export {unpackColumns, unpackRows} from './unpack';
