// Unpacks quantized matrices, in a separate module that only the quantized entry point loads. It shares the memory of
// tfjs's wasm backend.

export {multiplyRow, unpackColumns, unpackRows} from './unpack';
