// Runs inside `s init`. In a registry publication src/ is already there; from the repository itself
// (`s init --uri`) it is made here, because the command line copies nothing but src/.
const crypto = require('crypto');
const path = require('path');
const files = require('./files.json');

async function preInit({ tempAppPath, fs }) {
  const src = path.join(tempAppPath, 'src');
  if (fs.existsSync(src)) return;
  const skip = /(^|[\\/])(__pycache__|\.[^\\/]*_cache)([\\/]|$)/;
  for (const file of files) {
    fs.copySync(path.join(tempAppPath, file), path.join(src, file), {
      filter: (from) => !skip.test(path.relative(tempAppPath, from)),
    });
  }
}

// The command line renders s.yaml alone; the answers that belong elsewhere are filled in here.
async function postInit({ appPath, fs, artTemplate }) {
  artTemplate('ram/policy.json');
  artTemplate('.env.template');
  fs.moveSync(path.join(appPath, '.env.template'), path.join(appPath, '.env'), { overwrite: true });
  const file = path.join(appPath, '.env');
  const key = crypto.randomBytes(32).toString('base64url');
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('MINT-KEY-OF-THIS-DEPLOYMENT', key));
  fs.chmodSync(file, 0o600);
}

module.exports = { preInit, postInit };
