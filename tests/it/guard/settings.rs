//! Rules that cannot hold are refused at the start, each with its line.

use tempfile::TempDir;
use verigate::config::load;

const TENANT: &str = "[[tenants]]\nname = \"acme\"\nkeys = [{ id = \"one\", secret = \"a-secret-that-is-long\" }]\n";

fn errors(text: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let (file, key) = (folder.path().join("verigate.toml"), folder.path().join("store.key"));
    std::fs::write(&key, "not read here").unwrap();
    std::fs::write(&file, format!("{TENANT}{text}")).unwrap();
    let variables = [("VERIGATE__STORE__KEY_FILE".to_owned(), key.display().to_string())];
    match load(Some(&file), variables.into_iter()) {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn each_rule_that_cannot_hold_is_told_by_its_key() {
    let rows = [
        ("[guard.recipient]\nsends = 0", "guard.recipient.sends"),
        ("[guard.recipient]\nmode = \"maybe\"", "guard.recipient.mode"),
        ("[guard.device]\nwindow = \"1ms\"", "guard.device.window"),
        ("[guard.sequence]\nneighbours = 1", "guard.sequence.neighbours"),
        ("[guard.conversion]\nleast = 1.5", "guard.conversion.least"),
        ("[guard.conversion]\ncertainty = 0.5", "guard.conversion.certainty"),
        ("[guard.conversion]\nprobes = 0", "guard.conversion.probes"),
        ("[guard.tenant_failures]\nfailures = 0", "guard.tenant_failures.failures"),
        ("[guard.countries]\ndeny = [\"Malaysia\"]", "guard.countries.deny"),
        ("[guard.number_types]\ndeny = [\"expensive\"]", "guard.number_types.deny"),
        ("[guard]\nsafelist = [\"0123\"]", "guard.safelist[0]"),
        ("[guard]\nanswers = \"none\"", "guard.answers"),
        ("[guard]\nlimit = 3", "guard.limit"),
        ("[guard.authorization]\nmode = \"enforce\"", "guard.authorization.url"),
        ("[guard.authorization]\nurl = \"http://fraud.example/\"", "guard.authorization.url"),
        ("[guard.authorization]\nsecret = \"short\"", "guard.authorization.secret"),
        ("[guard.authorization]\nsecret = \"whsec_%%%\"", "guard.authorization.secret"),
        ("[[guard.budgets]]\nday = 5.0", "guard.prices"),
        ("[[guard.prices]]\nprice = -1.0", "guard.prices[0].price"),
        ("[[guard.prices]]\nprice = 1.0\nchannel = \"fax\"", "guard.prices[0].channel"),
        ("[[guard.prices]]\nprice = 1.0\nvendor = \"nobody\"", "guard.prices[0].vendor"),
        ("[[guard.prices]]\nprice = 1.0\n[[guard.budgets]]\nday = 0.0", "guard.budgets[0].day"),
        ("[[guard.prices]]\nprice = 1.0\n[[guard.budgets]]\nday = 1.0\ntenant = \"nobody\"", "guard.budgets[0].tenant"),
        (
            "[[guard.prices]]\nprice = 1.0\n[[guard.budgets]]\nday = 1.0\n[[guard.budgets]]\nday = 2.0",
            "guard.budgets[1]",
        ),
        ("[guard.tenants.nobody]\ntrust = true", "guard.tenants.nobody"),
        (
            "[guard.tenants.acme]\ndevice = { mode = \"enforce\", sends = 0, window = \"1h\" }",
            "guard.tenants.acme.device.sends",
        ),
        ("[guard.tenants.acme]\nrecipient = 3", "guard.tenants.acme.recipient"),
    ];
    for (text, key) in rows {
        let told = errors(text);
        assert!(told.iter().any(|line| line.contains(key)), "{text}\n{told:?}");
        assert!(told.iter().all(|line| !line.contains("short") && !line.contains("%%%")), "a secret is told: {told:?}");
    }
}

#[test]
fn a_secret_is_hidden_and_rules_are_shown() {
    let text = "[guard.authorization]\nmode = \"enforce\"\nurl = \"https://fraud.example/\"\n\
                secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"";
    assert_eq!(errors(text), Vec::<String>::new());
}
